// All there is of a customer, product, order or day, and why.

import {every, get, ServerError} from "./api.js";
import {card, explainLink, facts, h, notice, scroll} from "./dom.js";
import {cell, clock, count, money} from "./format.js";

export const title = "Explain";

const KINDS = {customer_id: "Customer", product_id: "Product", order_id: "Order", order_date: "Day"};
const LINKED = Object.keys(KINDS);

export async function show(page, signal, [column, value]) {
  if (!KINDS[column] || !value) {
    page.replaceChildren(notice("Search for a customer, a product, an order or a day."));
    return;
  }
  const body = h("div", {class: "grid"});
  const state = h("p", {class: "note", role: "status"}, "loading…");
  page.replaceChildren(h("h1", {}, `${KINDS[column]} ${value}`), state, body);
  let drawn = null;
  // Asked again when there is another epoch, for it may look at all orders.
  let newest = 0;
  let asked = -1;
  const onStatus = ({detail}) => (newest = detail.epoch);
  document.addEventListener("status", onStatus);
  signal.addEventListener("abort", () => document.removeEventListener("status", onStatus));
  await every(
    2000,
    signal,
    async () => {
      if (asked >= newest && asked >= 0) return;
      const all = await get(`/v1/explain?${column}=${encodeURIComponent(value)}`, signal);
      state.textContent = `as of epoch ${count(all.epoch)}, committed ${clock(all.committed_at)}`;
      asked = all.epoch;
      const content = JSON.stringify([all.tables, all.inputs, all.changes]);
      if (content === drawn) return;
      drawn = content;
      draw(body, all);
    },
    (error) => {
      if (!(error instanceof ServerError)) {
        state.textContent = "the service does not answer; trying again";
        return;
      }
      state.textContent = "";
      drawn = null;
      asked = -1;
      body.replaceChildren(notice(error.message));
    },
  );
}

/** Columns of a row that are of other rows: its neighbours in a window. */
const NEIGHBOURS = ["prev_sales", "next_sales", "first_sales", "last_sales", "second_sales"];
/** What one looks for first in the orders behind a figure. */
const FIRST = ["order_date", "order_id", "customer_id", "product_id", "quantity", "total_amount"];

function draw(body, {tables, inputs, changes, changes_since_epoch: since}) {
  const found = tables.filter((table) => table.rows.length);
  const rows = inputs?.rows ?? [];
  const isNothing = !found.length && !rows.length;
  const own = changes
    .map((change) => ({...change, columns: changedColumns(change)}))
    .filter(({columns}) => columns !== 0);
  body.replaceChildren(
    isNothing ? h("div", {class: "card full"}, notice("Nothing is known by this id.")) : "",
    card(
      "What changed last",
      {size: "full", note: `since epoch ${count(since)}; earlier changes are not kept`},
      own.length
        ? h("ol", {class: "plain"}, own.slice(0, 12).map(change))
        : h("p", {class: "soft"}, "Nothing, since then."),
    ),
    ...found.map((table) => card(table.table, {size: found.length > 1 ? "half" : "full"}, rowsOf(table))),
    rows.length ? behind(inputs) : "",
  );
}

/** One row as a list, several as a table. */
function rowsOf({table, rows}) {
  if (rows.length > 1) return grid(`Rows of ${table}`, rows, Object.keys(rows[0]));
  return facts(Object.keys(rows[0]).map((name) => [name, value(rows[0], name)]));
}

/** The orders behind the figures: what all of them share is told once. */
function behind({table, rows, all_rows: all}) {
  const names = Object.keys(rows[0]);
  const isShared = (name) =>
    rows.length > 1 && !FIRST.includes(name) && rows.every((row) => row[name] === rows[0][name]);
  const shared = names.filter(isShared);
  const rest = names.filter((name) => !FIRST.includes(name) && !isShared(name));
  const columns = [...FIRST.filter((name) => names.includes(name)), ...rest];
  const note =
    all > rows.length
      ? `the latest ${count(rows.length)} of ${count(all)} rows of ${table}`
      : `${count(all)} rows of ${table}`;
  const amount = all === rows.length ? rows.reduce((sum, row) => sum + (row.total_amount ?? 0), 0) : null;
  return card(
    "Why: the orders behind it",
    {size: "full", note},
    amount === null ? "" : h("p", {}, "Their amounts add up to ", h("b", {}, money(amount)), "."),
    grid("The orders behind it", rows, columns),
    shared.length
      ? h(
          "details",
          {},
          h("summary", {}, "All of them have"),
          facts(shared.map((name) => [name, value(rows[0], name)])),
        )
      : "",
  );
}

function value(row, name) {
  if (row[name] === null) return "–";
  return LINKED.includes(name) ? explainLink(name, row[name]) : cell(row[name]);
}

function grid(caption, rows, names) {
  const kind = (name) =>
    rows.some((row) => typeof row[name] === "number") && !LINKED.includes(name) ? "number" : "clip";
  const head = names.map((name) => h("th", {scope: "col", class: kind(name) === "number" ? "number" : null}, name));
  const body = rows.map((row) =>
    h(
      "tr",
      {},
      names.map((name) => h("td", {class: kind(name)}, value(row, name))),
    ),
  );
  const heading = h("caption", {class: "visually-hidden"}, caption);
  return scroll(caption, h("table", {}, heading, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)), "tall");
}

/** The columns whose values differ, without those of neighbours; null if rows came or went, 0 if nothing is left. */
function changedColumns({plus, minus}) {
  const [after, before] = [plus[0], minus[0]];
  if (plus.length !== 1 || minus.length !== 1) return null;
  const differing = Object.keys(after).filter((name) => after[name] !== before[name] && !NEIGHBOURS.includes(name));
  return differing.length ? differing : 0;
}

/** A change as the values that differ. */
function change({epoch, committed_at: at, table, plus, minus, columns}) {
  const [after, before] = [plus[0], minus[0]];
  const what = columns
    ? columns.map((name) =>
        h(
          "span",
          {},
          ` ${name} `,
          h("s", {class: "down"}, cell(before[name]) || "–"),
          " → ",
          h("b", {class: "up"}, cell(after[name]) || "–"),
          ";",
        ),
      )
    : [h("span", {class: "up"}, ` +${plus.length}`), " ", h("span", {class: "down"}, `−${minus.length}`), " rows"];
  return h("li", {}, h("b", {}, `epoch ${count(epoch)}`), ` (${clock(at)}) `, h("code", {}, table), ":", what);
}

// All there is of a customer, product, order or day, and why.

import {every, get, ServerError} from "./api.js";
import {card, explainLink, h, notice} from "./dom.js";
import {ago, cell, clock, count} from "./format.js";

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

function draw(body, {tables, inputs, changes, changes_since_epoch: since}) {
  const found = tables.filter((table) => table.rows.length);
  const isNothing = !found.length && !inputs?.rows.length;
  const rows = inputs?.rows ?? [];
  body.replaceChildren(
    isNothing ? h("div", {class: "card full"}, notice("Nothing is known by this id.")) : "",
    ...found.map((table) =>
      card(table.table, {size: found.length > 1 ? "half" : "full"}, grid(`Rows of ${table.table}`, table.rows)),
    ),
    rows.length
      ? card(
          "Why: the orders behind it",
          {
            size: "full",
            note:
              inputs.all_rows > rows.length
                ? `the latest ${count(rows.length)} of ${count(inputs.all_rows)}`
                : `${count(rows.length)} of ${inputs.table}`,
          },
          grid("The orders behind it", rows),
        )
      : "",
    card(
      "What moved it last",
      {size: "full", note: `since epoch ${count(since)}, as far as changes are kept`},
      changes.length
        ? h("ol", {class: "plain"}, changes.map(change))
        : h("p", {class: "soft"}, "No row of it has changed since then."),
    ),
  );
}

function grid(caption, rows) {
  const names = Object.keys(rows[0]);
  const value = (row, name) =>
    LINKED.includes(name) && row[name] !== null
      ? explainLink(name, row[name])
      : row[name] === null
        ? "–"
        : cell(row[name]);
  const kind = (name) =>
    rows.some((row) => typeof row[name] === "number") && !LINKED.includes(name) ? "number" : "clip";
  return h(
    "div",
    {class: "scroll tall", tabindex: "0", role: "group", "aria-label": caption},
    h(
      "table",
      {},
      h("caption", {class: "visually-hidden"}, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          names.map((name) => h("th", {scope: "col", class: kind(name) === "number" ? "number" : null}, name)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h(
            "tr",
            {},
            names.map((name) => h("td", {class: kind(name)}, value(row, name))),
          ),
        ),
      ),
    ),
  );
}

/** A change as the values that differ. */
function change({epoch, committed_at: at, table, plus, minus}) {
  const [after, before] = [plus[0], minus[0]];
  let what;
  if (after && before && plus.length === 1 && minus.length === 1) {
    const differing = Object.keys(after).filter((name) => after[name] !== before[name]);
    what = differing.map((name) =>
      h(
        "span",
        {},
        ` ${name} `,
        h("s", {class: "down"}, cell(before[name]) || "–"),
        " → ",
        h("b", {class: "up"}, cell(after[name]) || "–"),
        ";",
      ),
    );
  } else {
    what = [h("span", {class: "up"}, ` +${plus.length}`), " ", h("span", {class: "down"}, `−${minus.length}`), " rows"];
  }
  return h("li", {}, h("b", {}, `epoch ${count(epoch)}`), ` (${ago(at)}) `, h("code", {}, table), ":", what);
}

// The tables: columns, rows, what changes.

import {download, follow, get, ServerError} from "./api.js";
import {explainLink, h, replace, scroll} from "./dom.js";
import {cell, clock, count} from "./format.js";

export const title = "Tables";

const PAGE = 200;
const SORTED_MOST = 6400;
const LINKED = ["customer_id", "product_id", "order_id", "order_date"];
const isNumber = (type) => /^(U?Int|Float|Decimal)/.test(type);

export async function show(page, signal, [name]) {
  const {tables} = await get("/v1/tables", signal);
  const chosen =
    tables.find((table) => table.name === name) ?? tables.find((table) => table.name === "daily_sales") ?? tables[0];
  const links = tables.map((table) =>
    h(
      "a",
      {href: `#/tables/${table.name}`, "aria-current": table === chosen ? "true" : null},
      h("span", {}, table.name),
      h("span", {class: table === chosen ? "" : "soft"}, table.rows === null ? "" : count(table.rows)),
    ),
  );
  const body = h("div");
  page.replaceChildren(
    h("h1", {}, "Tables"),
    h("div", {class: "grid"}, h("div", {class: "card full split"}, h("nav", {"aria-label": "Tables"}, links), body)),
  );
  if (chosen) await (chosen.looked_up_by ? lookedUp(body, chosen, signal) : kept(body, chosen, signal));
}

function schema(table) {
  const row = (column) =>
    h(
      "tr",
      {},
      h("td", {}, column.name),
      h("td", {}, column.type),
      h("td", {}, column.nullable ? "may be null" : ""),
      h("td", {}, table.key.includes(column.name) ? "key" : ""),
    );
  return h(
    "details",
    {},
    h("summary", {}, `${table.columns.length} columns`),
    h("table", {}, h("caption", {class: "visually-hidden"}, "Columns"), h("tbody", {}, table.columns.map(row))),
  );
}

function rowOf(table, row, kind = null) {
  return h(
    "tr",
    {class: kind},
    table.columns.map((column) => {
      const value = row[column.name];
      const content = LINKED.includes(column.name) && value !== null ? explainLink(column.name, value) : cell(value);
      return h(
        "td",
        {class: isNumber(column.type) ? "number" : "clip", title: value === null ? "null" : null},
        value === null ? "–" : content,
      );
    }),
  );
}

function scrolledTable(name, head, body) {
  const heading = h("caption", {class: "visually-hidden"}, name);
  return scroll(`Rows of ${name}`, h("table", {}, heading, h("thead", {}, head), body), "tall");
}

function exportButtons(table, query) {
  return h(
    "span",
    {class: "buttons"},
    "Download:",
    ["csv", "parquet", "arrow"].map((format) =>
      h(
        "button",
        {
          type: "button",
          onclick: (event) => {
            const button = event.currentTarget;
            button.disabled = true;
            download(`/v1/tables/${table.name}?${query()}format=${format}`, `${table.name}.${format}`).finally(() => {
              button.disabled = false;
            });
          },
        },
        format === "csv" ? "CSV" : format === "arrow" ? "Arrow" : "Parquet",
      ),
    ),
  );
}

async function kept(place, table, signal) {
  const sort = {column: null, descending: false};
  const from = h("input", {id: "from", placeholder: table.key.join(",")});
  const to = h("input", {id: "to", placeholder: table.key.join(",")});
  const key = h("input", {id: "key", placeholder: table.key.join(",")});
  const isLive = h("input", {type: "checkbox", id: "live"});
  const state = h("p", {class: "note", role: "status"});
  const body = h("tbody");
  const head = h("tr");
  const more = h("button", {type: "button", hidden: true}, "More rows");
  let next = null;
  let limit = PAGE;
  let followed = null;
  // Which load is the newest: the answers of others are dropped.
  let loading = 0;

  const filter = () => {
    const pairs = key.value
      ? [["key", key.value]]
      : [
          ["from", from.value],
          ["to", to.value],
        ];
    return pairs
      .filter(([, value]) => value)
      .map(([name, value]) => `${name}=${encodeURIComponent(value)}&`)
      .join("");
  };

  async function load(path, of = loading) {
    try {
      const answer = await get(path, signal);
      if (of !== loading) return;
      next = answer.next;
      // Sorted rows have no further pages: more of them are asked for anew.
      const isWhole = answer.rows.length < limit || limit >= SORTED_MOST;
      more.hidden = sort.column || table.view ? isWhole : !next;
      body.append(...answer.rows.map((row) => rowOf(table, row)));
      state.textContent = `as of epoch ${count(answer.epoch)}, committed ${clock(answer.committed_at)}: ${count(body.rows.length)} rows shown`;
      state.dataset.epoch = answer.epoch;
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      state.textContent = error.message;
      more.hidden = true;
    }
  }

  function reload() {
    loading += 1;
    drawHead();
    body.replaceChildren();
    const order = sort.column ? `order=${sort.descending ? "-" : ""}${encodeURIComponent(sort.column)}&` : "";
    return load(`/v1/tables/${table.name}?${filter()}${order}limit=${limit}`);
  }

  function drawHead() {
    replace(
      head,
      table.columns.map((column) => {
        const isSorted = sort.column === column.name;
        const direction = isSorted ? (sort.descending ? "descending" : "ascending") : "none";
        return h(
          "th",
          {scope: "col", class: isNumber(column.type) ? "number" : null, "aria-sort": direction},
          h(
            "button",
            {
              type: "button",
              onclick: () => {
                limit = PAGE;
                if (isSorted && sort.descending) sort.column = null;
                else {
                  sort.descending = isSorted;
                  sort.column = column.name;
                }
                reload();
              },
            },
            `${column.name}${isSorted ? (sort.descending ? " ▼" : " ▲") : " ↕"}`,
          ),
        );
      }),
    );
  }

  function followChanges() {
    followed?.abort();
    if (!isLive.checked) {
      reload();
      return;
    }
    followed = new AbortController();
    loading += 1;
    signal.addEventListener("abort", () => followed.abort());
    body.replaceChildren();
    more.hidden = true;
    state.textContent = "waiting for the next change";
    follow((last) => `/v1/tables/${table.name}/changes${last ? `?since=${last}` : ""}`, {
      signal: followed.signal,
      onEvent: ({event, data}) => {
        if (event !== "changes") return;
        state.textContent = `epoch ${count(data.epoch)}, committed ${clock(data.committed_at)}: ${count(data.plus.length)} rows in, ${count(data.minus.length)} out`;
        body.prepend(
          ...data.minus.slice(0, 50).map((row) => rowOf(table, row, "minus")),
          ...data.plus.slice(0, 50).map((row) => rowOf(table, row, "plus")),
        );
        while (body.rows.length > PAGE) body.lastElementChild.remove();
      },
      onState: (kind, error) => {
        if (kind === "gone") state.textContent = error?.message ?? "the service does not answer; trying again";
      },
    });
  }

  more.addEventListener("click", () => {
    if (!sort.column && !table.view) return load(next);
    limit *= 2;
    return reload();
  });
  isLive.addEventListener("change", followChanges);
  const form = h(
    "form",
    {
      class: "fields",
      onsubmit: (event) => {
        event.preventDefault();
        isLive.checked = false;
        limit = PAGE;
        followed?.abort();
        reload();
      },
    },
    // A view has no key, and nobody can follow what changes in it.
    ...(table.view
      ? [h("button", {}, "Read again")]
      : [
          h("div", {}, h("label", {for: "key"}, "key begins with"), key),
          h("div", {}, h("label", {for: "from"}, "key from"), from),
          h("div", {}, h("label", {for: "to"}, "to"), to),
          h("button", {}, "Filter"),
          h("label", {for: "live"}, isLive, " follow what changes"),
        ]),
    exportButtons(table, filter),
  );
  place.replaceChildren(
    h("h2", {}, table.name),
    table.view ? h("p", {class: "note"}, "A view, computed when it is read: ", h("code", {}, table.view)) : "",
    schema(table),
    form,
    state,
    scrolledTable(table.name, head, body),
    more,
  );
  await reload();
}

/** enriched_data, of which no row is kept. */
async function lookedUp(place, table, signal) {
  const column = h(
    "select",
    {id: "by"},
    table.looked_up_by.map((name) => h("option", {value: name}, name)),
  );
  const value = h("input", {id: "value", required: true});
  const state = h(
    "p",
    {class: "note", role: "status"},
    `Its rows are joined when they are read, by ${table.looked_up_by.join(", ")}.`,
  );
  const body = h("tbody");
  const query = () => `${column.value}=${encodeURIComponent(value.value)}&`;
  const form = h(
    "form",
    {
      class: "fields",
      onsubmit: async (event) => {
        event.preventDefault();
        body.replaceChildren();
        try {
          const answer = await get(`/v1/tables/${table.name}?${query()}limit=1000`, signal);
          body.replaceChildren(...answer.rows.map((row) => rowOf(table, row)));
          state.textContent = `as of epoch ${count(answer.epoch)}, committed ${clock(answer.committed_at)}: ${count(answer.rows.length)} rows`;
        } catch (error) {
          state.textContent = error.message;
        }
      },
    },
    h("div", {}, h("label", {for: "by"}, "by"), column),
    h("div", {}, h("label", {for: "value"}, "value"), value),
    h("button", {}, "Look up"),
    exportButtons(table, query),
  );
  const head = h(
    "tr",
    {},
    table.columns.map((one) => h("th", {scope: "col", class: isNumber(one.type) ? "number" : null}, one.name)),
  );
  place.replaceChildren(h("h2", {}, table.name), schema(table), form, state, scrolledTable(table.name, head, body));
}

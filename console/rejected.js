// Rows that could not be used: why, and what to do.

import {every, get, post} from "./api.js";
import {bars, card, h, notice, table} from "./dom.js";
import {count} from "./format.js";

export const title = "Rejected rows";

const SHOWN = 200;

export async function show(page, signal) {
  const list = h("div");
  const reasons = h("div");
  const said = h("p", {role: "status", class: "note"});
  const act = (path, question, row) => async () => {
    if (question && !confirm(question)) return;
    said.textContent = "…";
    try {
      const done = await post(path, row && JSON.stringify(row));
      said.textContent = path.endsWith("drop")
        ? `${count(done.dropped)} rows are forgotten.`
        : `${count(done.accepted)} rows are accepted now, ${count(done.rejected)} are still rejected.`;
    } catch (error) {
      said.textContent = error.message;
    }
  };
  page.replaceChildren(
    h("h1", {}, "Rejected rows"),
    h(
      "p",
      {class: "soft"},
      "They never stop the service and are never lost. Correct one and send it, read all of them again with the settings of now, or forget them.",
    ),
    h(
      "div",
      {class: "grid"},
      card("By reason", {size: "reasons"}, reasons),
      card(
        "Rows",
        {
          size: "wide stack",
          extra: [
            h(
              "span",
              {class: "buttons"},
              h("button", {type: "button", onclick: act("/v1/rejected/retry")}, "Retry all"),
              h(
                "button",
                {
                  type: "button",
                  onclick: act("/v1/rejected/drop", "Forget all rejected rows? They can't be brought back."),
                },
                "Drop all",
              ),
            ),
          ],
        },
        said,
        list,
      ),
    ),
  );

  let drawn = null;
  await every(
    1500,
    signal,
    async () => {
      const answer = await get("/v1/rejected", signal);
      const state = JSON.stringify(answer);
      if (state === drawn) return;
      drawn = state;
      const {rows, reasons: byReason, all_rows: all} = answer;
      reasons.replaceChildren(
        all
          ? bars(
              byReason.map((one) => ({label: `${one.table}: ${one.reason}`, value: one.rows, text: count(one.rows)})),
            )
          : h("p", {class: "good"}, "✓ No row is rejected."),
      );
      list.replaceChildren(
        all
          ? table(
              `${count(Math.min(SHOWN, rows.length))} of ${count(all)} rows`,
              [
                {title: "table", cell: (row) => row.table},
                {title: "from", class: "clip", cell: (row) => row.file ?? "a function of the config"},
                {title: "row", number: true, cell: (row) => row.row_number},
                {title: "reason", class: "reason", cell: (row) => h("span", {class: "bad"}, row.reason)},
                {title: "values", class: "json", cell: (row) => row.row},
                {
                  title: "",
                  cell: (row) =>
                    ["orders", "products", "customers"].includes(row.table)
                      ? h(
                          "span",
                          {class: "buttons"},
                          h("button", {type: "button", onclick: () => edit(row, said)}, "Correct…"),
                          h(
                            "button",
                            {
                              type: "button",
                              onclick: act("/v1/rejected/drop", "Forget this row? It can't be brought back.", row),
                            },
                            "Drop",
                          ),
                        )
                      : "",
                },
              ],
              rows.slice(0, SHOWN),
              {hideCaption: false},
            )
          : h("p", {class: "soft"}, "Nothing to show."),
      );
    },
    (error) => {
      drawn = null;
      list.replaceChildren(notice(error.message));
    },
  );
}

/** Lets a row be corrected and sent as a new one. */
function edit(row, said) {
  let pretty = row.row;
  try {
    pretty = JSON.stringify(JSON.parse(row.row), null, 1);
  } catch {
    /* as it is */
  }
  const text = h("textarea", {id: "correction", rows: 12, spellcheck: "false"});
  text.value = pretty;
  const problem = h("p", {role: "alert", class: "bad"});
  const dialog = h(
    "dialog",
    {"aria-label": "Correct a row"},
    h("h2", {}, `Correct a row of ${row.table}`),
    h("p", {class: "bad"}, row.reason),
    h("label", {for: "correction"}, "The row as JSON"),
    text,
    problem,
    h(
      "div",
      {class: "buttons"},
      h("button", {type: "button", class: "main", onclick: send}, "Send"),
      h("button", {type: "button", onclick: () => dialog.close()}, "Cancel"),
    ),
  );
  async function send() {
    try {
      JSON.parse(text.value);
      const answer = await post(`/v1/${row.table}`, text.value);
      if (answer.rejected_rows > 0) {
        problem.textContent = `Still rejected: ${answer.rejected[0].reason}`;
        return;
      }
      dialog.close();
      said.textContent = `It is in all tables since epoch ${count(answer.epoch)}.`;
      await post("/v1/rejected/drop", JSON.stringify(row)).catch((error) => {
        said.textContent += ` The row that was rejected is still listed: ${error.message}`;
      });
    } catch (error) {
      problem.textContent = error.message;
    }
  }
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// What one can do to the demo, and what it moves.

import {every, get, post} from "./api.js";
import {card, explainLink, h} from "./dom.js";
import {count, micros, money} from "./format.js";

const FIRST_ID = 5_000_000_000_000_000;

const oneOf = (list) => list[Math.floor(Math.random() * list.length)];

/** A card with the controls, if this is the demo; otherwise nothing. */
export async function controls(signal) {
  if ((await get("/v1/demo", signal)) === null) return null;
  const said = h("p", {role: "status", id: "moved"}, "Press a button to see what it moves.");
  const stream = h("p", {class: "note"});
  const rate = h("output", {for: "rate"}, "–");
  const slider = h("input", {
    id: "rate",
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    oninput: () => (rate.textContent = count(rateOf(slider.value))),
    onchange: () => post(`/v1/demo/rate?orders_a_second=${rateOf(slider.value)}`).catch(() => {}),
  });
  const button = (label, work, kind = null) =>
    h(
      "button",
      {
        type: "button",
        class: kind,
        onclick: async (event) => {
          const pressed = event.currentTarget;
          pressed.disabled = true;
          try {
            said.replaceChildren(...(await work()));
          } catch (error) {
            said.textContent = error.message;
          }
          pressed.disabled = false;
        },
      },
      label,
    );

  every(1000, signal, async () => {
    const [demo, {sources}] = await Promise.all([get("/v1/demo", signal), get("/v1/sources", signal)]);
    if (document.activeElement !== slider && demo.orders_a_second !== null) {
      slider.value = placeOf(demo.orders_a_second);
      rate.textContent = count(demo.orders_a_second);
    }
    const folder = sources.find((source) => source.type === "folder");
    const written = demo.stream?.last_file;
    const isIn = written && folder?.offset?.endsWith(written);
    stream.textContent = written
      ? `The stream has written ${count(demo.stream.rows)} orders; its newest file is ${isIn ? "in all tables ✓" : "on its way"}.`
      : "The stream has not written yet.";
  });

  return card(
    "Try it",
    {size: "full"},
    h(
      "div",
      {class: "fields"},
      h("div", {}, h("label", {for: "rate"}, "orders a second: ", rate), slider),
      button("Correct an order", correct),
      button("Change a price", reprice),
      button("Cross a tier", cross),
      button("Send a poison record", poison),
      button("Kill the job (kill -9)", kill, "danger"),
    ),
    said,
    stream,
  );
}

// The slider is logarithmic: 0, then 1 to 20,000.
const rateOf = (place) => (Number(place) === 0 ? 0 : Math.round(20000 ** (place / 100)));
const placeOf = (rate) => (rate === 0 ? 0 : Math.round((100 * Math.log(rate)) / Math.log(20000)));

/** Posts rows, and tells what they moved under a key. */
async function send(table, rows, column, value, words) {
  const started = performance.now();
  const answer = await post(`/v1/${table}`, JSON.stringify(rows));
  const took = (performance.now() - started) * 1000;
  const explained = await get(`/v1/explain?${column}=${encodeURIComponent(value)}`);
  const moved = explained.changes.filter((change) => change.epoch === answer.epoch);
  const tables = moved.map((change) => change.table).join(", ");
  return [
    ...words,
    ` Safe and in all tables after ${micros(took)}, in epoch ${count(answer.epoch)}. `,
    moved.length ? `Its rows changed in ${tables}.` : "",
  ];
}

async function anOrder() {
  const day = oneOf((await get("/v1/overview")).days).day;
  return oneOf((await get(`/v1/explain?order_date=${day}`)).inputs.rows);
}

async function correct() {
  const {order_id, customer_id, product_id, order_date, quantity, discount} = await anOrder();
  const next = (quantity % 50) + 1;
  const row = {order_id, customer_id, product_id, order_date, quantity: next, discount};
  return send("orders", [row], "order_id", order_id, [
    "Order ",
    explainLink("order_id", order_id),
    ` has ${next} pieces now instead of ${quantity}.`,
  ]);
}

async function reprice() {
  const {product_id, product_name, category, brand, price} = await anOrder();
  const next = Math.round(price * 110) / 100;
  const row = {product_id, product_name, category, brand, price: next};
  return send("products", [row], "product_id", product_id, [
    "Product ",
    explainLink("product_id", product_id),
    ` costs ${money(next)} now instead of ${money(price)}.`,
  ]);
}

async function cross() {
  const {product_id} = await anOrder();
  const id = FIRST_ID + Math.floor(Math.random() * 1e15);
  const newcomer = 10_000_000 + Math.floor(Math.random() * 1e6);
  const {as_of: day} = await get("/v1/overview");
  await post(
    "/v1/orders",
    JSON.stringify([{order_id: id, customer_id: newcomer, product_id, order_date: day, quantity: 1, discount: 0}]),
  );
  const row = {order_id: id + 1, customer_id: newcomer, product_id, order_date: day, quantity: 50, discount: 0};
  return send("orders", [row], "customer_id", newcomer, [
    "A new customer bought one piece, and then fifty: see ",
    explainLink("customer_id", newcomer),
    ".",
  ]);
}

async function poison() {
  const answer = await post("/v1/orders", JSON.stringify([{order_id: FIRST_ID, order_date: "soon", quantity: "many"}]));
  return [
    `Rejected, and nothing stopped: ${answer.rejected[0].reason}. See `,
    h("a", {href: "#/rejected"}, "the rejected rows"),
    ".",
  ];
}

async function kill() {
  const before = await get("/v1/status");
  const started = performance.now();
  await post("/v1/demo/kill");
  while (performance.now() - started < 120_000) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    try {
      const status = await get("/v1/status");
      if (status.ready && status.live_since !== before.live_since) {
        const took = (performance.now() - started) * 1000;
        return [
          `Killed at epoch ${count(before.epoch)}, started again, and live at epoch ${count(status.epoch)} after ${micros(took)}: `,
          status.epoch >= before.epoch ? "no epoch is lost. " : "epochs are missing! ",
          h("a", {href: "#/job"}, "Verify it"),
          ".",
        ];
      }
    } catch {
      // It is not there yet.
    }
  }
  return ["Killed; it is not back after two minutes. See live.log in the folder of the demo."];
}

// The shop, as of one epoch.

import {follow, get} from "./api.js";
import {chart} from "./charts.js";
import {controls} from "./demo.js";
import {bars, card, explainLink, h, notice, replace, table} from "./dom.js";
import {clock, compact, count, money} from "./format.js";

export const title = "Shop";

export async function show(page, signal) {
  const live = h("p", {class: "note", id: "as-of"}, "loading…");
  const places = {};
  const place = (name, title, options = {}) => {
    places[name] = h("div");
    return card(title, options, places[name]);
  };
  const tile = (name, label) => {
    places[name] = h("div");
    return h("section", {class: "card tile", "aria-label": label}, h("span", {class: "soft"}, label), places[name]);
  };
  const ranges = rangeButtons((days) => {
    range = days;
    drawDays();
  });
  let range = 90;
  let newest = null;
  let older = null;

  const curve = h("div", {class: "chart", role: "img", "aria-label": "Revenue and customers by day"});
  const demo = h("div", {class: "grid"});
  controls(signal)
    .then((card) => demo.replaceChildren(card ?? ""))
    .catch(() => {});
  page.replaceChildren(
    h("div", {class: "buttons"}, h("h1", {}, "Shop"), live),
    demo,
    h(
      "div",
      {class: "grid"},
      tile("revenue", "Revenue"),
      tile("orders", "Orders"),
      tile("customers", "Customers"),
      tile("today", "Today so far"),
      card("Revenue by day", {size: "wide", extra: [ranges]}, curve),
      place("categories", "Revenue by category"),
      place("best", "Best products", {size: "wide"}),
      place("gained", "Gained most"),
      place("tiers", "Tiers"),
      place("crossed", "Crossed into another tier"),
      place("anomalies", "Unusual orders"),
      place("rfm", "Customers by recency and frequency", {size: "half"}),
      place("cohorts", "Customers by month", {size: "half"}),
    ),
  );
  const plot = chart(curve, [{label: "revenue", format: money, fill: true}], {
    format: compact,
    height: 230,
    days: true,
  });
  signal.addEventListener("abort", () => plot.destroy());

  async function drawDays() {
    if (!newest) return;
    let days = newest.days;
    if (range === 0) {
      older ??= (await get("/v1/tables/daily_sales?columns=order_date,daily_revenue&limit=100000", signal)).rows
        .filter((row) => row.order_date)
        .map((row) => ({day: row.order_date, revenue: row.daily_revenue}));
      const known = new Set(days.map((day) => day.day));
      days = [...older.filter((day) => !known.has(day.day)), ...days];
    } else {
      days = days.slice(-range);
    }
    plot.set([days.map((day) => Date.parse(day.day) / 1000), days.map((day) => day.revenue)]);
  }

  function draw(shop) {
    // What the job does not compute is null.
    shop.has_anomalies = shop.anomalies !== null;
    for (const name of ["days", "categories", "tiers", "tier_crossings", "cohorts", "anomalies"]) shop[name] ??= [];
    newest = shop;
    live.textContent = `as of epoch ${count(shop.epoch)}, committed ${clock(shop.committed_at)}, reference day ${shop.as_of}`;
    live.dataset.epoch = shop.epoch;
    const {revenue, orders, customers} = shop.totals;
    fill(
      places.revenue,
      h("b", {}, money(revenue)),
      h("span", {class: "soft"}, orders ? `${money(revenue / orders)} an order` : ""),
    );
    fill(places.orders, h("b", {}, count(orders)), h("span", {class: "soft"}, "those of guests too"));
    fill(places.customers, h("b", {}, count(customers)), h("span", {class: "soft"}, "with orders"));
    const today = shop.days.find((day) => day.day === shop.as_of);
    fill(
      places.today,
      h("b", {}, today ? money(today.revenue) : "–"),
      h(
        "span",
        {class: "soft"},
        today
          ? `${count(today.customers)} customers, ${money(today.average_order_value)} an order`
          : `no order on ${shop.as_of}`,
      ),
    );
    drawDays();
    fill(
      places.categories,
      shop.categories.length
        ? bars(
            shop.categories.slice(0, 12).map((one) => ({
              label: one.category ?? "unknown product",
              value: one.revenue,
              text: compact(one.revenue),
            })),
          )
        : notice("Nothing is sold yet."),
    );
    drawProducts(places, shop.products);
    fill(
      places.tiers,
      bars(
        shop.tiers.map((tier) => ({label: tier.tier ?? "none", value: tier.customers, text: count(tier.customers)})),
      ),
    );
    fill(
      places.crossed,
      shop.tier_crossings.length
        ? table(
            "Customers who crossed into another tier",
            [
              {title: "customer", cell: (row) => explainLink("customer_id", row.customer_id)},
              {title: "from", cell: (row) => row.from ?? "none"},
              {title: "to", cell: (row) => row.to ?? "none"},
              {title: "spent", number: true, cell: (row) => money(row.total_spent)},
              {title: "at", number: true, cell: (row) => clock(row.committed_at)},
            ],
            shop.tier_crossings.slice(0, 8),
          )
        : h(
            "p",
            {class: "soft"},
            `Nobody since ${clock(shop.watched_since)} (epoch ${count(shop.watched_since_epoch)}), when the shop was first watched.`,
          ),
    );
    fill(
      places.anomalies,
      shop.anomalies.length
        ? table(
            "Orders with an anomaly score below zero",
            [
              {title: "order", cell: (row) => explainLink("order_id", row.order_id)},
              {title: "price", number: true, cell: (row) => money(row.final_price)},
              {title: "score", number: true, cell: (row) => row.anomaly_score.toFixed(3)},
              {title: "at", number: true, cell: (row) => clock(row.committed_at)},
            ],
            shop.anomalies.slice(0, 8),
          )
        : h(
            "p",
            {class: "soft"},
            shop.has_anomalies
              ? `None since ${clock(shop.watched_since)}.`
              : "The job does not compute order_anomalies.",
          ),
    );
    fill(places.rfm, shop.rfm ? heat(shop.rfm) : notice("The job does not compute rfm_analysis."));
    const most = Math.max(...shop.cohorts.map((month) => month.customers), 1);
    fill(
      places.cohorts,
      shop.cohorts.length
        ? [
            h(
              "div",
              {
                class: "columns",
                role: "img",
                "aria-label": `Customers of ${shop.cohorts.length} months, at most ${count(most)}`,
              },
              shop.cohorts.map((month) =>
                h("span", {
                  title: `${month.month}: ${count(month.customers)}`,
                  style: {height: `${(100 * month.customers) / most}%`},
                }),
              ),
            ),
            h(
              "p",
              {class: "note"},
              `${shop.cohorts[0].month} to ${shop.cohorts.at(-1).month}; at most ${count(most)} customers in a month`,
            ),
          ]
        : h("p", {class: "soft"}, "No month yet."),
    );
  }

  // Four times a second is as much as one can read.
  let last = 0;
  let timer = null;
  let waiting = null;
  const show = () => {
    timer = null;
    last = performance.now();
    draw(waiting);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  await follow("/v1/overview/changes", {
    signal,
    onEvent: ({event, data}) => {
      if (event !== "overview") return;
      waiting = data;
      timer ??= setTimeout(show, Math.max(0, 250 - (performance.now() - last)));
    },
  });
}

function fill(place, ...content) {
  replace(place, ...content);
}

function rangeButtons(choose) {
  const choices = [
    [30, "30 days"],
    [90, "90"],
    [180, "180"],
    [0, "all"],
  ];
  const buttons = choices.map(([days, label]) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": String(days === 90),
        onclick: (event) => {
          buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === event.currentTarget)));
          choose(days);
        },
      },
      label,
    ),
  );
  return h("span", {class: "buttons"}, buttons);
}

function drawProducts(places, products) {
  if (!products) {
    fill(places.best, notice("The job does not compute product_sales."));
    return;
  }
  const since = `since ${clock(products.since)} (epoch ${count(products.since_epoch)})`;
  const moved = (row) => {
    if (!row.rank_before) return h("span", {class: "up"}, "new");
    const by = row.rank_before - row.rank;
    return by === 0 ? "=" : h("span", {class: by > 0 ? "up" : "down"}, `${by > 0 ? "▲" : "▼"} ${Math.abs(by)}`);
  };
  const named = {title: "product", class: "clip", cell: (row) => explainLink("product_id", row.product_id)};
  fill(
    places.best,
    table(
      `The products with the greatest revenue, as of epoch ${count(products.epoch)}; movement ${since}`,
      [
        {title: "rank", number: true, cell: (row) => row.rank},
        {title: "moved", cell: moved},
        named,
        {title: "name", class: "clip", cell: (row) => row.product_name},
        {title: "category", class: "clip", cell: (row) => row.category},
        {title: "revenue", number: true, cell: (row) => money(row.revenue)},
      ],
      products.best,
      {hideCaption: false},
    ),
  );
  fill(
    places.gained,
    products.gained.length
      ? table(
          `Revenue gained ${since}`,
          [
            named,
            {title: "name", class: "clip", cell: (row) => row.product_name},
            {title: "gained", number: true, cell: (row) => h("span", {class: "up"}, `+${money(row.gained)}`)},
          ],
          products.gained,
          {hideCaption: false},
        )
      : h("p", {class: "soft"}, `No product has gained ${since}.`),
  );
  [places.best, places.gained].forEach((place) => place.firstElementChild?.classList.add("products"));
}

/** How many customers bought when last, and how often. */
function heat({recency_days_most: recencies, frequency_most: frequencies, customers}) {
  const most = Math.max(...customers.flat(), 1);
  const span = (bounds, place, unit) => {
    const from = place === 0 ? (unit ? 0 : 1) : bounds[place - 1] + 1;
    if (bounds[place] === null) return `${from}+${unit}`;
    return from === bounds[place] ? `${from}${unit}` : `${from}–${bounds[place]}${unit}`;
  };
  const head = h(
    "tr",
    {},
    h("th", {scope: "col"}, "last order"),
    frequencies.map((_, place) =>
      h("th", {scope: "col"}, `${span(frequencies, place, "")} ${frequencies[place] === 1 ? "order" : "orders"}`),
    ),
  );
  const rows = customers.map((row, place) =>
    h(
      "tr",
      {},
      h("th", {scope: "row"}, span(recencies, place, " days")),
      row.map((value) =>
        h(
          "td",
          {
            style: {
              "background-color": `rgb(var(--heat) / calc(var(--heat-most) * ${Math.sqrt(value / most).toFixed(3)}))`,
            },
          },
          count(value),
        ),
      ),
    ),
  );
  return h(
    "div",
    {class: "scroll", tabindex: "0", role: "group", "aria-label": "Customers by recency and frequency"},
    h(
      "table",
      {class: "heat"},
      h("caption", {class: "visually-hidden"}, "Customers by days since the last order and number of orders"),
      h("thead", {}, head),
      h("tbody", {}, rows),
    ),
  );
}

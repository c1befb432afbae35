// Elements, made without any text being read as HTML.

/** h("p", {class: "note"}, "text", element…) */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") Object.entries(value).forEach(([name, text]) => element.style.setProperty(name, text));
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A card with a heading. */
export function card(title, {size = "", note = "", extra = []} = {}, ...children) {
  const heading = h("h2", {}, title);
  const side = h("div", {class: "note"}, note, ...extra);
  return h(
    "section",
    {class: `card ${size}`, "aria-label": title},
    h("div", {class: "head"}, heading, side),
    ...children,
  );
}

/** Something that may be wider than its place, and is then scrolled, with the keyboard too. */
export function scroll(label, content, size = "") {
  return h("div", {class: `scroll ${size}`, tabindex: "0", role: "group", "aria-label": label}, content);
}

/** A table: columns are {title, number, cell(row), class}. */
export function table(caption, columns, rows, {rowClass = () => null, hideCaption = true} = {}) {
  const head = h(
    "tr",
    {},
    columns.map((column) => h("th", {scope: "col", class: column.number ? "number" : null}, column.title)),
  );
  const cell = (column, row) =>
    h(
      "td",
      {class: [column.number && "number", column.class].filter(Boolean).join(" ") || null},
      column.cell(row) ?? "–",
    );
  const body = rows.map((row) =>
    h(
      "tr",
      {class: rowClass(row)},
      columns.map((column) => cell(column, row)),
    ),
  );
  const heading = h("caption", {class: hideCaption ? "visually-hidden" : null}, caption);
  return scroll(caption, h("table", {}, heading, h("thead", {}, head), h("tbody", {}, body)));
}

/** Bars: items are {label, value, text}. */
export function bars(items) {
  const most = Math.max(...items.map((item) => item.value), 0) || 1;
  const row = (item) => [
    h("dt", {title: item.label}, item.link ?? item.label),
    h("span", {class: "bar", "aria-hidden": "true", style: {width: `${Math.max(0, (100 * item.value) / most)}%`}}),
    h("dd", {}, item.text),
  ];
  return h("dl", {class: "bars"}, items.flatMap(row));
}

export function facts(pairs) {
  return h(
    "dl",
    {class: "facts"},
    pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value ?? "–")]),
  );
}

export function explainLink(column, value) {
  const none = column === "customer_id" ? "guest" : "none";
  return value === null || value === undefined
    ? none
    : h("a", {href: `#/explain/${column}/${encodeURIComponent(value)}`}, String(value));
}

export function notice(...children) {
  return h("p", {class: "notice"}, ...children);
}

let isPressed = false;
addEventListener("pointerdown", () => (isPressed = true));
addEventListener("pointerup", () => setTimeout(() => (isPressed = false), 0));
addEventListener("pointercancel", () => (isPressed = false));

const keyOf = (element) => `${element.tagName} ${element.getAttribute("href") ?? element.textContent}`;

/**
 * Puts content in the place of what is there. What has the focus keeps it, if it is there again; while a pointer is
 * pressed nothing is replaced, or the click would be lost. False if it was not done.
 */
export function replace(place, ...content) {
  if (isPressed) return false;
  const focused = place.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  place.replaceChildren(...content.flat());
  if (focused !== null) {
    const again = [...place.querySelectorAll("a, button, [tabindex]")].find((element) => keyOf(element) === focused);
    again?.focus({preventScroll: true});
  }
  return true;
}

// The page: which part is shown, the state of the service, the search.

import {every, get, pause} from "./api.js";
import {h, notice} from "./dom.js";
import {count, seconds} from "./format.js";
import * as explain from "./explain.js";
import * as job from "./job.js";
import * as rejected from "./rejected.js";
import * as shop from "./shop.js";
import * as tables from "./tables.js";

const pages = {shop, job, rejected, tables, explain};
const page = document.getElementById("page");
const state = document.getElementById("state");
let shown = null;

function show() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const module = pages[name] ?? shop;
  shown?.abort();
  shown = new AbortController();
  page.replaceChildren(h("p", {class: "soft"}, "loading…"));
  for (const link of document.querySelectorAll("header nav a")) {
    const isCurrent = link.getAttribute("href") === `#/${name || "shop"}`;
    isCurrent ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  document.title = `${module.title} · millstream`;
  showOnceItCan(module, shown.signal, rest);
}

/** Shows a page, again and again while the tables are loaded or the service is gone. */
async function showOnceItCan(module, signal, rest) {
  while (!signal.aborted) {
    try {
      return await module.show(page, signal, rest);
    } catch (error) {
      if (signal.aborted) return;
      page.replaceChildren(notice(`This can't be shown: ${error.message}`));
      if (!error.isTemporary) return;
    }
    await pause(1000, signal);
  }
}

/** Shows the state; only what kind it is of is announced, for the epoch changes all the time. */
function tell(kind, text) {
  if (state.dataset.state !== kind) document.getElementById("announced").textContent = text;
  state.dataset.state = kind;
  if (state.textContent !== text) state.textContent = text;
}

/** Keeps the line in the header: the epoch, and how late the tables are. */
function keepState() {
  every(
    1000,
    new AbortController().signal,
    async () => {
      const status = await get("/v1/status");
      const late = status.behind_seconds > 0.05 ? `${seconds(status.behind_seconds)} behind` : "up to date";
      tell(status.ready ? "live" : "waiting", status.ready ? `epoch ${count(status.epoch)}, ${late}` : status.phase);
      const rows = status.tables.rejected?.rows ?? 0;
      const badge = document.getElementById("rejected-count");
      badge.hidden = rows === 0;
      badge.textContent = count(rows);
      document.dispatchEvent(new CustomEvent("status", {detail: status}));
    },
    (error) => tell("gone", error.message),
  );
}

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const [kind, text] = [
    document.getElementById("search-kind").value,
    document.getElementById("search-text").value.trim(),
  ];
  if (text) location.hash = `#/explain/${kind}/${encodeURIComponent(text)}`;
});

document.getElementById("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("millstream-theme", next);
  document.documentElement.dataset.theme = next;
  show();
});
document.documentElement.dataset.theme =
  localStorage.getItem("millstream-theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

document.querySelector(".skip").addEventListener("click", (event) => {
  // Addresses with # are those of pages.
  event.preventDefault();
  page.focus();
});

addEventListener("hashchange", () => {
  show();
  page.focus({preventScroll: true});
});
show();
keepState();

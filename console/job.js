// The job: how late it is, what it does, what it takes.

import {every, get, post} from "./api.js";
import {chart} from "./charts.js";
import {bars, card, facts, h, notice, replace, table} from "./dom.js";
import {ago, bytes, clock, count, micros, seconds} from "./format.js";

export const title = "Job";

/** So many seconds are shown. */
const SHOWN = 900;

export async function show(page, signal) {
  const at = {};
  const place = (name, title, options = {}) => {
    at[name] = h("div");
    return card(title, options, at[name]);
  };
  const curve = (name, label) => {
    at[name] = h("div", {class: "chart", role: "img", "aria-label": label});
    return at[name];
  };
  const verify = h("button", {type: "button", class: "main", onclick: () => ask("/v1/verify")}, "Verify now");
  const publish = h("button", {type: "button", onclick: () => ask("/v1/publish")}, "Publish now");
  const asked = h("p", {role: "status", class: "note"});

  async function ask(path) {
    try {
      await post(path);
      asked.textContent = "Requested; it begins when nothing else runs in the background.";
      asked.dataset.since = Date.now() - 1000;
    } catch (error) {
      asked.textContent = error.message;
    }
  }

  page.replaceChildren(
    h("h1", {}, "Job"),
    h(
      "div",
      {class: "grid"},
      place("late", "How late"),
      place("state", "Service"),
      place("tasks", "Is it right", {extra: [h("span", {class: "buttons"}, verify, publish)]}),
      card(
        "Time until an epoch is visible, last 15 minutes",
        {size: "wide"},
        curve("visible", "Time until an epoch is visible, median and 99th percentile, by second"),
      ),
      place("distribution", "How long epochs took"),
      place("stages", "Stages of an epoch, last minute"),
      card("Rows a second", {size: "wide"}, curve("rows", "Rows that came in, by second")),
      place("sources", "Sources", {size: "full"}),
      place("sinks", "Sinks", {size: "full"}),
      place("dataflow", "Operators", {size: "full"}),
      card("Memory", {size: "half"}, curve("memory", "Memory of the process, by second")),
      place("tables", "Memory of the tables that are served", {size: "half"}),
      card("Log and checkpoint", {size: "half"}, curve("log", "Bytes of the log and of the checkpoint, by second")),
      place("recovery", "Durability and recovery", {size: "half"}),
    ),
  );
  at.tasks.after(asked);

  const plots = {
    visible: chart(at.visible, [{label: "p50"}, {label: "p99"}, {label: "behind"}], {format: micros}),
    rows: chart(at.rows, [{label: "rows", fill: true}, {label: "rejected"}], {format: count, height: 160}),
    memory: chart(at.memory, [{label: "resident", fill: true}], {format: bytes, height: 160}),
    log: chart(at.log, [{label: "log"}, {label: "checkpoint"}], {format: bytes, height: 160}),
  };
  signal.addEventListener("abort", () => Object.values(plots).forEach((plot) => plot.destroy()));
  const history = new History();

  const onStatus = ({detail}) => {
    drawStatus(at, detail, history);
    const isDone = (task) => Date.parse(task.began_at) >= Number(asked.dataset.since);
    if (asked.dataset.since && detail.ended_tasks.some(isDone)) {
      asked.textContent = "";
      delete asked.dataset.since;
    }
  };
  document.addEventListener("status", onStatus);
  signal.addEventListener("abort", () => document.removeEventListener("status", onStatus));

  every(1000, signal, async () => {
    history.add(await get(`/v1/history?since=${history.last}`, signal));
    const {seconds: time, columns} = history;
    const shown = (name) => columns[name];
    plots.visible.set([
      time,
      nullIfNone(shown("p50"), columns.epochs),
      nullIfNone(shown("p99"), columns.epochs),
      shown("behind"),
    ]);
    plots.rows.set([time, shown("rows"), shown("rejected")]);
    plots.memory.set([time, shown("memory")]);
    plots.log.set([time, shown("log"), shown("checkpoint")]);
    drawDistribution(at.distribution, history.distribution);
    drawStages(at.stages, columns);
  });
  every(2000, signal, async () => {
    const [{sources}, {sinks}] = await Promise.all([get("/v1/sources", signal), get("/v1/sinks", signal)]);
    drawSources(at.sources, sources);
    drawSinks(at.sinks, sinks);
  });
  every(
    2000,
    signal,
    async () => drawDataflow(at.dataflow, await get("/v1/dataflow", signal)),
    (error) => replace(at.dataflow, notice(error.message)),
  );
}

/** Columns of the last seconds. */
class History {
  constructor() {
    this.seconds = [];
    this.columns = {
      epochs: [],
      rows: [],
      rejected: [],
      p50: [],
      p99: [],
      behind: [],
      memory: [],
      log: [],
      checkpoint: [],
    };
    for (const stage of ["decode", "queue", "log_sync", "compute", "serve"]) this.columns[stage] = [];
    this.distribution = null;
  }

  get last() {
    return this.seconds.at(-1) ?? 0;
  }

  add(more) {
    const {columns} = this;
    this.seconds.push(...more.seconds);
    const add = (name, values) => columns[name].push(...values);
    add("epochs", more.epochs);
    add("rows", more.rows);
    add("rejected", more.rejected_rows);
    add("p50", more.visible_us.p50);
    add("p99", more.visible_us.p99);
    add("behind", more.behind_us);
    add("memory", more.memory_bytes);
    add("log", more.log_bytes);
    add("checkpoint", more.checkpoint_bytes);
    for (const stage of ["decode", "queue", "compute", "serve"]) add(stage, more.stages_us[stage]);
    add("log_sync", more.stages_us.log);
    this.distribution = more.distribution;
    const extra = this.seconds.length - SHOWN;
    if (extra > 0) [this.seconds, ...Object.values(columns)].forEach((column) => column.splice(0, extra));
  }

  /** The greatest 99th percentile of the last seconds in which there was an epoch. */
  worst(length) {
    return Math.max(0, ...this.columns.p99.slice(-length));
  }
}

const nullIfNone = (values, epochs) => values.map((value, place) => (epochs[place] > 0 ? value : null));

function drawStatus(at, status, history) {
  const late = status.behind_seconds;
  const worst = history.worst(60);
  replace(
    at.late,
    h(
      "p",
      {},
      h(
        "b",
        {class: late > 1 ? "bad" : "good", id: "lateness"},
        late > 0.05 ? `${seconds(late)} behind` : "up to date",
      ),
    ),
    facts([
      ["Newest epoch", `${count(status.epoch)}, ${ago(status.committed_at)}`],
      ["Slowest of the last minute", worst ? micros(worst) : "no epoch"],
      ["Slowest of 15 minutes", history.worst(SHOWN) ? micros(history.worst(SHOWN)) : "no epoch"],
      ["Waiting", `${count(status.waiting.rows)} rows, ${bytes(status.waiting.bytes)}`],
    ]),
  );
  replace(
    at.state,
    facts([
      ["State", status.ready ? "ready" : status.phase],
      ["Live since", status.live_since ? `${clock(status.live_since)}, ${ago(status.live_since)}` : null],
      ["Reference day", status.as_of],
      ["Workers", String(status.workers)],
      ["Memory", bytes(status.memory_bytes)],
      ["Version", status.version],
    ]),
  );
  const verified = status.ended_tasks.find((task) => task.task === "verify");
  const running = status.task
    ? `${status.task.task} of epoch ${count(status.task.epoch)}, since ${clock(status.task.began_at)}`
    : "nothing";
  replace(
    at.tasks,
    h(
      "p",
      {id: "verified"},
      verified
        ? h(
            "span",
            {class: verified.outcome === "done" ? "good" : "bad"},
            verified.outcome === "done"
              ? `✓ Epoch ${count(verified.epoch)} equals what is recomputed from the accepted rows (${ago(verified.began_at)}, in ${seconds(verified.seconds)}).`
              : `✗ ${verified.message}`,
          )
        : "Not verified since the start: all tables can be recomputed from the accepted rows and compared.",
    ),
    h("p", {class: "note"}, `In the background: ${running}`),
    table(
      "The last tasks",
      [
        {title: "task", cell: (task) => task.task},
        {title: "epoch", number: true, cell: (task) => count(task.epoch)},
        {title: "when", cell: (task) => ago(task.began_at)},
        {title: "took", number: true, cell: (task) => seconds(task.seconds)},
        {
          title: "result",
          cell: (task) =>
            h("span", {class: task.outcome === "failed" ? "bad" : null, title: task.message}, task.outcome),
        },
      ],
      status.ended_tasks,
    ),
  );
  const tables = Object.entries(status.tables).sort(([, one], [, other]) => other.bytes - one.bytes);
  replace(
    at.tables,
    bars(
      tables.map(([name, table]) => ({
        label: name,
        value: table.bytes,
        text: `${bytes(table.bytes)}, ${count(table.rows)} rows`,
        link: h("a", {href: `#/tables/${name}`}, name),
      })),
    ),
  );
  replace(
    at.recovery,
    facts([
      [
        "An epoch is durable",
        {fsync: "on stable storage (fsync)", os: "once the system has it (os)", none: "some time later (none)"}[
          status.durability
        ] ?? status.durability,
      ],
      [
        "Recovered at the start",
        status.recovered_epoch ? `epoch ${count(status.recovered_epoch)}` : "nothing: the input was imported",
      ],
      ["Load took", seconds(status.load_seconds)],
      ["Log since the checkpoint", bytes(status.log_bytes)],
      ["Checkpoint", bytes(status.checkpoint_bytes)],
      ["Changes can be followed from epoch", count(status.changes.first_epoch)],
    ]),
  );
}

function drawDistribution(place, distribution) {
  if (!distribution) return;
  const {most_us: limits, epochs} = distribution;
  const first = epochs.findIndex((value) => value > 0);
  if (first < 0) {
    replace(place, h("p", {class: "soft"}, "No epoch in the last 15 minutes."));
    return;
  }
  const last = epochs.findLastIndex((value) => value > 0);
  const label = (at) => (at < limits.length ? `≤ ${micros(limits[at])}` : `> ${micros(limits.at(-1))}`);
  const all = epochs.reduce((sum, value) => sum + value, 0);
  const items = epochs.slice(first, last + 1).map((value, at) => ({
    label: label(first + at),
    value,
    text: `${count(value)} (${((100 * value) / all).toFixed(1)} %)`,
  }));
  replace(place, bars(items));
}

const STAGES = [
  ["decode", "decode", "reading the rows"],
  ["queue", "queue", "waiting for the epoch before"],
  ["log_sync", "log", "until it is on stable storage, beside compute"],
  ["compute", "compute", "until all workers have it, beside log"],
  ["serve", "serve", "until readers and sinks have it"],
];

function drawStages(place, columns) {
  const epochs = columns.epochs.slice(-60);
  const all = epochs.reduce((sum, value) => sum + value, 0);
  if (!all) {
    replace(place, h("p", {class: "soft"}, "No epoch in the last minute."));
    return;
  }
  const mean = (name) => columns[name].slice(-60).reduce((sum, value, at) => sum + value * epochs[at], 0) / all;
  replace(
    place,
    bars(
      STAGES.map(([name, label, meaning]) => ({
        label: `${label}: ${meaning}`,
        link: h("span", {title: meaning}, label),
        value: mean(name),
        text: micros(mean(name)),
      })),
    ),
    h("p", {class: "note"}, `the mean of ${count(all)} epochs`),
  );
}

function drawSources(place, sources) {
  replace(
    place,
    table(
      "Sources",
      [
        {title: "source", cell: (source) => (source.name ? `${source.name} (${source.type})` : source.type)},
        {title: "state", cell: (source) => source.state && stateOf(source)},
        {title: "from", class: "clip", cell: (source) => source.path ?? source.paths.join(" ")},
        {title: "arrivals", number: true, cell: (source) => count(source.arrivals)},
        {title: "rows", number: true, cell: (source) => count(source.rows)},
        {title: "rejected", number: true, cell: (source) => count(source.rejected_rows)},
        {title: "last", cell: (source) => ago(source.last_arrival_at)},
        {title: "offset", class: "clip", cell: (source) => source.offset},
        {
          title: "last rejected",
          cell: (source) =>
            source.last_rejected &&
            h("span", {class: "warn"}, `${source.last_rejected.reason} (${ago(source.last_rejected.at)})`),
        },
      ],
      sources,
    ),
  );
}

/** The state of a source or sink in another system, and what is behind. */
function stateOf({state, behind_seconds: behind, last_failure: failure}) {
  const isBad = ["retrying", "lost", "displaced"].includes(state);
  const late = behind > 1 ? `, ${seconds(behind)} behind` : "";
  const words = state.replaceAll("_", " ") + late;
  return h("span", {class: isBad ? "bad" : "good"}, isBad && failure ? `${words}: ${failure.reason}` : words);
}

function drawSinks(place, sinks) {
  replace(
    place,
    table(
      "Sinks",
      [
        {title: "sink", cell: (sink) => (sink.name ? `${sink.name} (${sink.type})` : sink.type)},
        {title: "to", class: "clip", cell: (sink) => sink.path},
        {
          title: "when",
          cell: (sink) =>
            (sink.state && "every epoch") ||
            [sink.every_seconds && `every ${seconds(sink.every_seconds)}`, sink.on_stop && "on stop"]
              .filter(Boolean)
              .join(", ") ||
            "when asked",
        },
        {
          title: "last",
          cell: (sink) =>
            sink.state
              ? sink.epoch !== null && `epoch ${count(sink.epoch)}, ${ago(sink.delivered_at ?? sink.committed_at)}`
              : sink.last_publication
                ? `epoch ${count(sink.last_publication.epoch)}, ${ago(sink.last_publication.began_at)}`
                : "not yet",
        },
        {
          title: "result",
          cell: (sink) =>
            sink.state
              ? stateOf(sink)
              : sink.last_publication &&
                h(
                  "span",
                  {class: sink.last_publication.outcome === "failed" ? "bad" : "good"},
                  sink.last_publication.outcome === "failed" ? sink.last_publication.message : "done",
                ),
        },
      ],
      sinks,
    ),
  );
}

let sortBy = "bytes";

function drawDataflow(place, {operators}) {
  const rows = [...operators]
    .sort((one, other) => (other[sortBy] ?? 0) - (one[sortBy] ?? 0))
    .filter((row) => row[sortBy] > 0)
    .slice(0, 15);
  const by = (key, text) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": String(sortBy === key),
        onclick: () => {
          sortBy = key;
          drawDataflow(place, {operators});
        },
      },
      text,
    );
  replace(
    place,
    h(
      "div",
      {class: "buttons"},
      h("span", {class: "soft"}, "most by"),
      by("bytes", "memory"),
      by("busy_us", "time"),
      by("records", "rows"),
      by("records_sent", "rows sent"),
    ),
    table(
      "Operators of the dataflow, of all workers",
      [
        {title: "operator", cell: (row) => row.name},
        {title: "memory", number: true, cell: (row) => (row.bytes ? bytes(row.bytes) : "–")},
        {title: "rows kept", number: true, cell: (row) => (row.records ? count(row.records) : "–")},
        {title: "time since the start", number: true, cell: (row) => micros(row.busy_us)},
        {title: "runs", number: true, cell: (row) => count(row.runs)},
        {title: "rows sent", number: true, cell: (row) => count(row.records_sent)},
        {title: "sends to", class: "clip", cell: (row) => row.to.join(", ")},
      ],
      rows,
    ),
  );
}

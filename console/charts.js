// Curves over time, by uPlot.

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return {
    ink: of("--soft"),
    line: of("--line"),
    series: [of("--accent"), of("--warn"), of("--bad"), of("--good"), of("--ink")],
  };
}

/** A chart in an element. `series` are {label, format, fill}; `set(columns)` shows data, the first column the time. */
export function chart(element, series, {height = 200, format = String, days = false} = {}) {
  const {ink, line, series: lines} = colours();
  const pad = (value) => String(value).padStart(2, "0");
  const day = (time) => new Date(time * 1000).toISOString().slice(0, 10);
  const clock = (time, withSeconds) => {
    const at = new Date(time * 1000);
    return `${pad(at.getHours())}:${pad(at.getMinutes())}${withSeconds ? `:${pad(at.getSeconds())}` : ""}`;
  };
  const axis = {stroke: ink, grid: {stroke: line, width: 1}, ticks: {stroke: line}, font: "12px system-ui"};
  const options = {
    width: Math.max(200, element.clientWidth),
    height,
    scales: {x: {time: true}},
    tzDate: days ? (time) => uPlot.tzDate(new Date(time * 1000), "UTC") : undefined,
    cursor: {drag: {x: true, y: false}},
    axes: [
      {
        ...axis,
        space: 80,
        values: (_, times, __, ___, step) =>
          times.map((time) =>
            days ? day(time).slice(step >= 86400 * 25 ? 0 : 5, step >= 86400 * 25 ? 7 : 10) : clock(time, step < 60),
          ),
      },
      {...axis, size: 68, values: (_, values) => values.map((value) => (value === null ? "" : format(value)))},
    ],
    series: [
      {label: days ? "day" : "time", value: (_, time) => (time === null ? "–" : days ? day(time) : clock(time, true))},
      ...series.map((one, place) => ({
        label: one.label,
        stroke: lines[place % lines.length],
        width: 1.6,
        fill: one.fill ? `${lines[place % lines.length]}22` : undefined,
        value: (_, value) => (value === null || value === undefined ? "–" : (one.format ?? format)(value)),
        points: {show: false},
      })),
    ],
  };
  const plot = new uPlot(options, series.length ? [[], ...series.map(() => [])] : [[]], element);
  const resized = new ResizeObserver(() => plot.setSize({width: Math.max(200, element.clientWidth), height}));
  resized.observe(element);
  return {
    set: (columns) => plot.setData(columns),
    destroy: () => {
      resized.disconnect();
      plot.destroy();
    },
  };
}

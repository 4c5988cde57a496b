// A run's curves: drawn with uPlot from the JSON endpoint, which is asked again while the run is live.
import uPlot from "../vendor/uplot/uPlot.esm.js";

const POLL_MS = 2000;
const HEIGHT = 220;
const root = document.querySelector("[data-curves]");
const sync = uPlot.sync("training-run");

// Points by kind, each a list of rows as the endpoint gives them: [step, ...values].
const points = { metrics: [], validation: [], samples: [] };
const view = { smooth: false, log: false, second: "grad_norm" };
let last = 0;

const COLUMN = { loss: 1, learning_rate: 2, grad_norm: 3, tokens_per_second: 4 };
const plain = (digits) => (value) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const short = (value) =>
  value === null || value === undefined ? "–" : value === 0 ? "0" : Math.abs(value) < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
const share = (value) => (value === null || value === undefined ? "–" : `${Math.round(value * 100)} %`);

const charts = {
  loss: {
    empty: "The first point comes with the first step.",
    number: plain(3),
    series: () => [
      { name: "train", tone: "a", rows: points.metrics, column: 1, smooth: true },
      { name: "validation", tone: "b", rows: points.validation, column: 1, dots: true },
    ],
  },
  fields: {
    empty: "Fields right and schema validity appear with the first evaluation.",
    number: share,
    range: [0, 1],
    series: () => [
      { name: "fields right", tone: "a", rows: points.samples, column: 1, dots: true },
      { name: "schema-valid", tone: "b", rows: points.samples, column: 2, dots: true, dash: true },
    ],
  },
  learning_rate: {
    empty: "The first point comes with the first step.",
    number: short,
    series: () => [{ name: "", tone: "a", rows: points.metrics, column: 2 }],
  },
  second: {
    empty: "The first point comes with the first step.",
    number: (value) => (view.second === "grad_norm" ? short(value) : plain(0)(value)),
    series: () => [{ name: "", tone: "a", rows: points.metrics, column: COLUMN[view.second], smooth: true }],
  },
};

// Exponential moving average, with the weight of the past corrected at the start (as Adam does it).
export function smoothed(values, weight = 0.9) {
  let mean = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return mean / mass;
  });
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function table(series) {
  const steps = [...new Set(series.flatMap((one) => one.rows.map((row) => row[0])))].sort((a, b) => a - b);
  const index = new Map(steps.map((step, at) => [step, at]));
  const columns = [];
  for (const one of series) {
    const raw = new Array(steps.length).fill(null);
    for (const row of one.rows) raw[index.get(row[0])] = row[one.column] ?? null;
    if (one.smooth && view.smooth) columns.push(raw, smoothed(raw));
    else columns.push(raw);
  }
  return [steps, ...columns];
}

// What uPlot draws: with smoothing the raw curve stays, faint, behind the smooth one.
function strokes(series) {
  const drawn = [];
  for (const one of series) {
    const colour = css(`--series-${one.tone}`);
    const line = {
      label: one.name || "value",
      stroke: colour,
      width: 1.75,
      spanGaps: true,
      dash: one.dash ? [5, 4] : undefined,
      points: { show: Boolean(one.dots) || one.rows.length === 1, size: 6, fill: colour },
    };
    if (one.smooth && view.smooth) drawn.push({ ...line, alpha: 0.25, width: 1, points: { show: false } }, line);
    else drawn.push(line);
  }
  return drawn;
}

function axis(format) {
  return {
    stroke: css("--axis-ink"),
    grid: { stroke: css("--grid-line"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
    size: 26,
    gap: 4,
    ...(format ? { values: (_, splits) => splits.map((s) => (s === null ? "" : format(s))), size: 50 } : { space: 60, values: (_, splits) => splits.map((s) => (Number.isInteger(s) ? s.toLocaleString("en") : "")) }),
  };
}

function keys(figure, chart, series, at = null) {
  const box = figure.querySelector("[data-keys]");
  box.replaceChildren(
    ...series
      .filter((one) => one.rows.length)
      .map((one) => {
        const item = document.createElement("span");
        if (one.name) {
          const swatch = document.createElement("span");
          swatch.className = `swatch series-${one.tone}${one.dash ? " swatch-dash" : ""}`;
          item.append(swatch, `${one.name} `);
        }
        const row = at === null ? one.rows.at(-1) : nearest(one.rows, at);
        const value = document.createElement("b");
        value.textContent = chart.number(row ? row[one.column] : null);
        item.append(value);
        return item;
      }),
  );
}

// The last point at or before a step: rows are sorted.
function nearest(rows, step) {
  let found = null;
  for (const row of rows) {
    if (row[0] > step) break;
    found = row;
  }
  return found;
}

function draw(name) {
  const chart = charts[name];
  const figure = root.querySelector(`[data-chart="${name}"]`);
  const box = figure.querySelector("[data-plot]");
  const series = chart.series();
  keys(figure, chart, series);
  if (!series.some((one) => one.rows.some((row) => row[one.column] !== null))) {
    chart.plot?.destroy();
    chart.plot = null;
    const note = document.createElement("div");
    note.className = "plot-empty";
    note.textContent = root.dataset.live === "true" ? chart.empty : "The run ended before there was a point.";
    box.replaceChildren(note);
    return;
  }
  const data = table(series);
  const shape = `${series.map((one) => one.rows.length > 1).join()} ${view.smooth} ${view.log} ${view.second} ${document.documentElement.dataset.bsTheme}`;
  if (chart.plot && chart.shape === shape) {
    chart.plot.setData(data);
    return;
  }
  chart.plot?.destroy();
  box.replaceChildren();
  chart.shape = shape;
  const logarithmic = name === "loss" && view.log;
  chart.plot = new uPlot(
    {
      width: box.clientWidth,
      height: HEIGHT,
      padding: [10, 16, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: sync.key, setSeries: false }, drag: { x: true, y: false }, points: { size: 7 } },
      scales: {
        x: { time: false },
        y: logarithmic ? { distr: 3 } : chart.range ? { range: [chart.range[0], chart.range[1]] } : {},
      },
      axes: [axis(null), axis(chart.number === share ? share : short)],
      series: [{}, ...strokes(series)],
      hooks: {
        setCursor: [
          (plot) => {
            const { idx } = plot.cursor;
            keys(figure, chart, chart.series(), idx === null || idx === undefined ? null : plot.data[0][idx]);
          },
        ],
      },
    },
    data,
    box,
  );
}

function drawAll() {
  for (const name of Object.keys(charts)) draw(name);
  const loss = points.metrics.at(-1);
  const words = loss ? `Step ${loss[0]}: training loss ${plain(3)(loss[1])}.` : "No point yet.";
  root.querySelector("[data-curves-words]").textContent = words;
}

async function poll() {
  let live = root.dataset.live === "true";
  try {
    const answer = await fetch(`${root.dataset.curves}?after=${last}`, { headers: { Accept: "application/json" } });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const fresh = await answer.json();
    live = fresh.live;
    root.dataset.live = String(live);
    root.querySelector("[data-live-mark]").hidden = !live;
    let changed = last === 0;
    for (const kind of Object.keys(points)) {
      if (!fresh[kind].length) continue;
      points[kind].push(...fresh[kind]);
      points[kind].sort((a, b) => a[0] - b[0]);
      changed = true;
    }
    last = fresh.last;
    if (changed || !live) drawAll();
  } catch {
    // The next try comes anyway; the rest of the page says so where the server is away.
  }
  if (live) setTimeout(poll, POLL_MS);
}

root.addEventListener("change", (event) => {
  if (event.target.matches("[data-smooth]")) view.smooth = event.target.checked;
  if (event.target.matches("[data-log]")) view.log = event.target.checked;
  drawAll();
});
root.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show]");
  if (!button) return;
  view.second = button.dataset.show;
  for (const one of root.querySelectorAll("[data-show]")) {
    one.classList.toggle("active", one === button);
    one.setAttribute("aria-pressed", String(one === button));
  }
  draw("second");
});
new MutationObserver(drawAll).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
new ResizeObserver(() => {
  for (const name of Object.keys(charts)) {
    const box = root.querySelector(`[data-chart="${name}"] [data-plot]`);
    charts[name].plot?.setSize({ width: box.clientWidth, height: HEIGHT });
  }
}).observe(root);

// Where many evaluations do not fit, the newest ones are seen.
function showNewest() {
  for (const box of document.querySelectorAll("[data-scroll-end]")) box.scrollLeft = box.scrollWidth;
}

// The log shows its end, as long as nobody has scrolled up in it.
function followLog() {
  const log = document.querySelector("[data-log-tail]");
  if (log) log.scrollTop = log.scrollHeight;
}
let atEnd = true;
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.target.id !== "log-card") return;
  const log = event.target.querySelector("[data-log-tail]");
  atEnd = !log || log.scrollHeight - log.scrollTop - log.clientHeight < 30;
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id === "log-card" && atEnd) followLog();
  if (event.target.id === "samples") showNewest();
});
followLog();
showNewest();
poll();

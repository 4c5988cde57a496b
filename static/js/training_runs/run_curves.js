// The curves of a run from the JSON endpoint, polled while the run is live; its log and its keys.

/** @import { Format, Mark, Row, Series } from "./types" */

import { $, around, find } from "../site/dom.js";
import { formatBytes, formatPercent } from "../site/format.js";
import { hasModifier } from "../site/keyboard.js";
import { ACROSS, Chart, METRIC, SAMPLE, SYSTEM, VALIDATION_LOSS, fetchCurves, fieldShare, fieldsOf, fixed, newCurves, redrawOnChange, short, synced, tone } from "./chart.js";

const POLL_MS = 2000;
const root = find(document, "[data-curves]");
const sync = synced("training-run");
const curves = newCurves(root.dataset.curves ?? "", root.dataset.live === "true");
const SECOND = { grad_norm: short, tokens_per_second: fixed(0), memory_bytes: formatBytes };
const view = { smooth: false, log: false, second: /** @type {keyof typeof SECOND} */ ("grad_norm"), fields: "by_field" };
const stopsEarly = root.dataset.early === "true";

/** @typedef {"loss" | "fields" | "learning_rate" | "second"} ChartName */

/** @param {ChartName} name */
const figure = (name) => find(root, `[data-chart="${name}"]`);
const empty = "The first point appears with the first step.";
const charts = {
  loss: new Chart(figure("loss"), { sync, number: fixed(3), empty }),
  fields: new Chart(figure("fields"), { sync, number: formatPercent, range: [-0.02, 1.02], toggles: true, empty: "Field accuracy appears with the first sample evaluation." }),
  learning_rate: new Chart(figure("learning_rate"), { sync, number: short, empty }),
  second: new Chart(figure("second"), { sync, number: SECOND.grad_norm, empty }),
};
const systemRoot = find(document, "[data-system]");
const systemSync = synced("training-system");
const SHARES = /** @type {[number, number]} */ ([-0.02, 1.02]);
/** Charts of the system over time. @type {Record<string, { number: Format, range?: [number, number], series: ((rows: Row[]) => Series)[] }>} */
const SYSTEM_CHARTS = {
  cpu: { number: formatPercent, range: SHARES, series: [systemSeries("run", SYSTEM.cpu, SYSTEM.cores), systemSeries("machine", SYSTEM.machine_cpu, SYSTEM.cores, true)] },
  memory: { number: formatBytes, series: [systemSeries("run", SYSTEM.memory), systemSeries("machine", SYSTEM.machine_memory, null, true)] },
  gpu: { number: formatPercent, range: SHARES, series: [systemSeries("load", SYSTEM.gpu), systemSeries("memory", SYSTEM.gpu_memory, SYSTEM.gpu_memory_total, true)] },
};
const systemCharts = Object.fromEntries(
  Object.entries(SYSTEM_CHARTS).map(([name, { number, range }]) => [
    name,
    new Chart(find(systemRoot, `[data-chart="${name}"]`), { sync: systemSync, number, range, height: 160, empty: "The first sample appears a few seconds after the start." }),
  ]),
);

/**
 * @param {string} name @param {number} column @param {number | null} [of] column of the total, for a share of it
 * @param {boolean} [dashed]
 * @returns {(rows: Row[]) => Series}
 */
function systemSeries(name, column, of = null, dashed = false) {
  const value = (/** @type {Row} */ row) => {
    const part = row[column];
    const total = of === null ? 1 : row[of];
    return part === null || !total ? null : part / total;
  };
  return (rows) => ({ name, tone: dashed ? 2 : 1, rows, value, dash: dashed ? [5, 4] : undefined });
}

function drawSystem() {
  const rows = curves.points.system;
  find(systemRoot, '[data-chart="gpu"]').hidden = !rows.some((row) => row[SYSTEM.gpu_memory_total]);
  for (const [name, { series }] of Object.entries(SYSTEM_CHARTS)) {
    systemCharts[name].draw(series.map((of) => of(rows)), { across: ACROSS.time, ended: !curves.live });
  }
}
const CHART_NAMES = /** @type {ChartName[]} */ (Object.keys(charts));

/** @type {Record<ChartName, () => Series[]>} */
const SERIES = {
  loss: () => [
    { name: "train", tone: 1, rows: curves.points.metrics, value: (row) => row[METRIC.loss], smooth: true },
    { name: "validation", tone: 2, rows: curves.points.validation, value: (row) => row[VALIDATION_LOSS], dots: true },
  ],
  fields: () => (view.fields === "together" ? together() : byField()),
  learning_rate: () => [{ name: "", tone: 1, rows: curves.points.metrics, value: (row) => row[METRIC.learning_rate] }],
  second: () => [{ name: "", tone: 1, rows: curves.points.metrics, value: (row) => row[METRIC[view.second]], smooth: view.second !== "memory_bytes" }],
};

/** @returns {Series[]} */
function together() {
  const rows = curves.points.samples;
  return [
    { name: "field accuracy", tone: 1, rows, value: (row) => row[SAMPLE.exact], dots: true },
    { name: "schema-valid", tone: 2, rows, value: (row) => row[SAMPLE.valid], dots: true, dash: [5, 4] },
  ];
}

/** @returns {Series[]} */
function byField() {
  const rows = curves.points.samples;
  const seen = new Set(rows.flatMap((row) => Object.keys(fieldsOf(row))));
  const names = [...curves.order.filter((name) => seen.delete(name)), ...seen];
  return names.map((name, index) => ({
    name,
    id: `field ${name}`,
    tone: tone(index),
    rows,
    value: fieldShare(name),
    dots: true,
    dash: index >= 8 ? [5, 4] : undefined,
  }));
}

/** Checkpoints below the loss, and a ring at the validation whose weights early stopping keeps. @returns {Mark[]} */
function marks() {
  const checkpoints = curves.points.checkpoint.map((row) => ({ kind: /** @type {const} */ ("checkpoint"), x: row[0] }));
  const losses = curves.points.validation.flatMap((row) => (row[VALIDATION_LOSS] === null ? [] : [{ step: row[0], loss: row[VALIDATION_LOSS] }]));
  if (!stopsEarly || !losses.length) return checkpoints;
  const lowest = losses.reduce((best, one) => (one.loss < best.loss ? one : best));
  const kept = losses.find(({ step }) => step === curves.best) ?? lowest;
  return [...checkpoints, { kind: "best", x: kept.step, y: kept.loss }];
}

/** @param {ChartName} name */
function draw(name) {
  const options = { smooth: view.smooth, log: name === "loss" && view.log, ended: !curves.live };
  charts[name].draw(SERIES[name](), name === "loss" ? { ...options, marks: marks() } : options);
}

function drawAll() {
  for (const name of CHART_NAMES) draw(name);
  drawSystem();
  const last = curves.points.metrics.at(-1);
  find(root, "[data-curves-words]").textContent = last ? `Step ${last[0]}: training loss ${fixed(3)(last[METRIC.loss])}.` : "No points yet.";
  find(root, "[data-checkpoint-key]").hidden = !curves.points.checkpoint.length;
}

async function poll() {
  try {
    const changed = await fetchCurves(curves);
    root.dataset.live = String(curves.live);
    find(root, "[data-live-mark]").hidden = !curves.live;
    if (changed) drawAll();
  } catch {
    // The next poll follows; the rest of the page says when the server is unreachable.
  }
  if (curves.live) setTimeout(poll, POLL_MS);
}

root.addEventListener("change", ({ target }) => {
  if (!target.matches("input")) return;
  if (target.matches("[data-smooth]")) view.smooth = target.checked;
  else if (target.matches("[data-log]")) view.log = target.checked;
  else return;
  drawAll();
});
root.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show]");
  if (!button) return;
  const name = around(button, "[data-chart]").dataset.chart;
  if (name === "fields") {
    view.fields = button.dataset.show ?? "";
  } else if (name === "second") {
    view.second = /** @type {keyof typeof SECOND} */ (button.dataset.show);
    charts.second.number = SECOND[view.second];
  } else {
    return;
  }
  for (const one of around(button, "[data-chart]").querySelectorAll("[data-show]")) {
    one.classList.toggle("active", one === button);
    one.setAttribute("aria-pressed", String(one === button));
  }
  charts[name].reset();
  draw(name);
});
document.addEventListener("keydown", (event) => {
  if (hasModifier(event) || event.target.matches("input:not([type=checkbox]), textarea, select") || $("keys").open) return;
  if (event.key === "s") find(root, "[data-smooth]").click();
  else if (event.key === "l") find(root, "[data-log]").click();
});
redrawOnChange(root, drawAll, [...Object.values(charts), ...Object.values(systemCharts)]);

// Where many evaluations do not fit, the newest are in sight.
function showNewest() {
  for (const box of document.querySelectorAll("[data-scroll-end]")) box.scrollLeft = box.scrollWidth;
}

// The log shows its end, unless the user scrolled up in it.
function showLogEnd() {
  const log = document.querySelector("[data-log-tail]");
  if (log) log.scrollTop = log.scrollHeight;
}
let isAtEnd = true;
document.addEventListener("htmx:beforeSwap", ({ target }) => {
  if (target.id !== "log-card") return;
  const log = target.querySelector("[data-log-tail]");
  isAtEnd = !log || log.scrollHeight - log.scrollTop - log.clientHeight < 30;
});
document.addEventListener("htmx:afterSettle", ({ target }) => {
  if (target.id === "log-card" && isAtEnd) showLogEnd();
  if (target.id === "samples") showNewest();
});
showLogEnd();
showNewest();
poll();

// Two to five runs in one chart: the curves of each from its own endpoint, polled while one is live.

/** @import { Format, Points, Row } from "./types" */

import { $, find } from "../site/dom.js";
import { formatBytes, formatPercent } from "../site/format.js";
import { hasModifier } from "../site/keyboard.js";
import { ACROSS, Chart, METRIC, SAMPLE, VALIDATION_LOSS, dash, fetchCurves, fieldShare, fixed, newCurves, redrawOnChange, short, synced, tokensAt, tone } from "./chart.js";

/**
 * @typedef {object} ChartSpec
 * @property {keyof Points} kind
 * @property {(row: Row) => number | null} value
 * @property {Format} number
 * @property {boolean} [smooth]
 * @property {boolean} [log]
 * @property {boolean} [dots]
 * @property {[number, number]} [range]
 */

const POLL_MS = 2000;
const root = find(document, "[data-overlay]");
const sync = synced("training-overlay");
/** @type {Set<string>} */
const hidden = new Set();
const view = { smooth: false, log: false, across: "step", field: "" };
const runs = [...root.querySelectorAll("[data-run]")].map((key, index) => ({
  ...newCurves(key.dataset.run ?? "", key.dataset.live === "true"),
  key,
  index,
}));

/** @param {keyof typeof METRIC} name @returns {Pick<ChartSpec, "kind" | "value">} */
const metric = (name) => ({ kind: "metrics", value: (row) => row[METRIC[name]] });

/** @type {Record<string, ChartSpec>} */
const CHARTS = {
  loss: { ...metric("loss"), number: fixed(3), smooth: true, log: true },
  validation: { kind: "validation", value: (row) => row[VALIDATION_LOSS], number: fixed(3), dots: true, log: true },
  fields: { kind: "samples", value: (row) => (view.field ? fieldShare(view.field)(row) : row[SAMPLE.exact]), number: formatPercent, dots: true, range: [-0.02, 1.02] },
  learning_rate: { ...metric("learning_rate"), number: short },
  grad_norm: { ...metric("grad_norm"), number: short, smooth: true },
  tokens_per_second: { ...metric("tokens_per_second"), number: fixed(0), smooth: true },
  memory_bytes: { ...metric("memory_bytes"), number: formatBytes },
};
const charts = Object.fromEntries(
  Object.entries(CHARTS).map(([name, { number, range }]) => [
    name,
    new Chart(find(root, `[data-chart="${name}"]`), { sync, number, range, empty: "No points yet." }),
  ]),
);

/** @param {string} name */
function draw(name) {
  const { kind, value, dots, smooth, log = false } = CHARTS[name];
  const series = runs
    .filter((run) => !hidden.has(run.url))
    .map((run) => ({
      id: run.url,
      name: run.key.dataset.number ?? "",
      tone: tone(run.index),
      dash: dash(run.index),
      rows: run.points[kind],
      value,
      dots,
      smooth,
      tokens: tokensAt(run.points.metrics),
    }));
  charts[name].draw(series, { smooth: view.smooth, log: log && view.log, across: ACROSS[view.across], ended: runs.every((run) => !run.live) });
}

function drawAll() {
  for (const name of Object.keys(charts)) draw(name);
}

// The fields of all runs, in the order of the first schema.
function listFields() {
  const select = find(root, "select[data-field]");
  const names = [...new Set(runs.flatMap((run) => run.order))];
  if (select.options.length === names.length + 1) return;
  select.replaceChildren(select.options[0], ...names.map((name) => new Option(name, name)));
  select.value = view.field;
}

async function poll() {
  const results = await Promise.allSettled(runs.filter((run) => run.live || run.last === 0).map(fetchCurves));
  if (results.some((result) => result.status === "fulfilled" && result.value)) {
    listFields();
    drawAll();
  }
  const failed = results.some((result) => result.status === "rejected");
  if (failed || runs.some((run) => run.live)) setTimeout(poll, POLL_MS);
}

/** @param {HTMLElement} key */
function toggle(key) {
  const url = key.dataset.run ?? "";
  if (!hidden.delete(url)) hidden.add(url);
  const isShown = !hidden.has(url);
  key.setAttribute("aria-pressed", String(isShown));
  key.classList.toggle("off", !isShown);
  drawAll();
}

root.addEventListener("change", (event) => {
  const target = /** @type {HTMLInputElement} */ (event.target);
  if (target.matches("[data-smooth]")) {
    view.smooth = target.checked;
  } else if (target.matches("[data-log]")) {
    view.log = target.checked;
  } else if (target.matches("[data-across]")) {
    view.across = target.value;
  } else if (target.matches("[data-field]")) {
    view.field = target.value;
    charts.fields.reset();
  } else {
    return;
  }
  drawAll();
});
root.addEventListener("click", (event) => {
  const key = event.target.closest("[data-run]");
  if (key) toggle(key);
});
document.addEventListener("keydown", (event) => {
  if (hasModifier(event) || event.target.matches("input:not([type=checkbox]), textarea, select") || $("keys").open) return;
  if (event.key === "s") {
    find(root, "[data-smooth]").click();
  } else if (event.key === "l") {
    find(root, "[data-log]").click();
  } else if (event.key === "x") {
    const select = find(root, "select[data-across]");
    select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
    select.dispatchEvent(new Event("change", { bubbles: true }));
  } else {
    const run = runs[Number(event.key) - 1];
    if (run) toggle(run.key);
  }
});
redrawOnChange(root, drawAll, Object.values(charts));
poll();

// A run's curves from the JSON endpoint, which is asked again while the run is live; its log and its keys.
import { Chart, METRIC, SAMPLE, VALIDATION_LOSS, ask, fieldShare, follow, gigabytes, nothing, plain, share, short, synced, tone } from "./charts.js";

const POLL_MS = 2000;
const root = document.querySelector("[data-curves]");
const sync = synced("training-run");
const state = { url: root.dataset.curves, last: 0, attempt: undefined, live: root.dataset.live === "true", order: [], points: nothing() };
const view = { smooth: false, log: false, second: "grad_norm", fields: "by_field" };
const early = root.dataset.early === "true";

const figure = (name) => root.querySelector(`[data-chart="${name}"]`);
const first = "The first point comes with the first step.";
const SECOND = { grad_norm: short, tokens_per_second: plain(0), memory_bytes: gigabytes };
const charts = {
  loss: new Chart(figure("loss"), { sync, number: plain(3), empty: first }),
  fields: new Chart(figure("fields"), { sync, number: share, range: [-0.02, 1.02], toggles: true, empty: "What is right in the samples appears with the first evaluation." }),
  learning_rate: new Chart(figure("learning_rate"), { sync, number: short, empty: first }),
  second: new Chart(figure("second"), { sync, number: SECOND.grad_norm, empty: first }),
};
const SERIES = {
  loss: () => [
    { name: "train", tone: 1, rows: state.points.metrics, value: (row) => row[METRIC.loss], smooth: true },
    { name: "validation", tone: 2, rows: state.points.validation, value: (row) => row[VALIDATION_LOSS], dots: true },
  ],
  fields: () => (view.fields === "together" ? together() : byField()),
  learning_rate: () => [{ name: "", tone: 1, rows: state.points.metrics, value: (row) => row[METRIC.learning_rate] }],
  second: () => [{ name: "", tone: 1, rows: state.points.metrics, value: (row) => row[METRIC[view.second]], smooth: view.second !== "memory_bytes" }],
};

function together() {
  const rows = state.points.samples;
  return [
    { name: "fields right", tone: 1, rows, value: (row) => row[SAMPLE.exact], dots: true },
    { name: "schema-valid", tone: 2, rows, value: (row) => row[SAMPLE.valid], dots: true, dash: [5, 4] },
  ];
}

function byField() {
  const rows = state.points.samples;
  const seen = new Set(rows.flatMap((row) => Object.keys(row[SAMPLE.fields] ?? {})));
  const names = [...state.order.filter((name) => seen.delete(name)), ...seen];
  return names.map((name, place) => ({
    name,
    id: `field ${name}`,
    tone: tone(place),
    rows,
    value: fieldShare(name),
    dots: true,
    dash: place >= 8 ? [5, 4] : undefined,
  }));
}

// Checkpoints below the loss; the best look as a ring where early stopping keeps its weights.
function marks() {
  const found = state.points.checkpoint.map((row) => ({ kind: "checkpoint", x: row[0] }));
  const looks = state.points.validation.filter((row) => row[VALIDATION_LOSS] !== null);
  if (!early || !looks.length) return found;
  const lowest = looks.reduce((best, row) => (row[VALIDATION_LOSS] < best[VALIDATION_LOSS] ? row : best));
  const kept = looks.find((row) => row[0] === state.best) ?? lowest;
  return [...found, { kind: "best", x: kept[0], y: kept[VALIDATION_LOSS] }];
}

function draw(name) {
  const options = { smooth: view.smooth, log: name === "loss" && view.log, ended: !state.live };
  charts[name].draw(SERIES[name](), name === "loss" ? { ...options, marks: marks() } : options);
}

function drawAll() {
  for (const name of Object.keys(charts)) draw(name);
  const loss = state.points.metrics.at(-1);
  const words = loss ? `Step ${loss[0]}: training loss ${plain(3)(loss[METRIC.loss])}.` : "No point yet.";
  root.querySelector("[data-curves-words]").textContent = words;
  root.querySelector("[data-checkpoint-key]").hidden = !state.points.checkpoint.length;
}

async function poll() {
  try {
    const changed = await ask(state);
    root.dataset.live = String(state.live);
    root.querySelector("[data-live-mark]").hidden = !state.live;
    if (changed) drawAll();
  } catch {
    // The next try comes anyway; the rest of the page says so where the server is away.
  }
  if (state.live) setTimeout(poll, POLL_MS);
}

function set(box, name) {
  view[name] = box.checked;
  drawAll();
}

root.addEventListener("change", (event) => {
  if (event.target.matches("[data-smooth]")) set(event.target, "smooth");
  if (event.target.matches("[data-log]")) set(event.target, "log");
});
root.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show]");
  if (!button) return;
  const name = button.closest("[data-chart]").dataset.chart;
  view[name] = button.dataset.show;
  if (name === "second") charts.second.number = SECOND[view.second];
  for (const one of button.parentElement.querySelectorAll("[data-show]")) {
    one.classList.toggle("active", one === button);
    one.setAttribute("aria-pressed", String(one === button));
  }
  charts[name].shape = null; // another curve in the same place
  draw(name);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input:not([type=checkbox]), textarea, select")) return;
  const box = { s: "[data-smooth]", l: "[data-log]" }[event.key];
  if (box && !document.getElementById("keys").open) root.querySelector(box).click();
});
follow(root, drawAll, () => Object.values(charts));

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

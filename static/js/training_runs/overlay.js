// Two to five runs over one another: the curves of each from its own endpoint, live while one is live.
import { ACROSS, Chart, METRIC, SAMPLE, VALIDATION_LOSS, ask, dash, fieldShare, follow, gigabytes, nothing, plain, share, short, synced, tokensAt, tone } from "./charts.js";

const POLL_MS = 2000;
const root = document.querySelector("[data-overlay]");
const sync = synced("training-overlay");
const hidden = new Set();
const view = { smooth: false, log: false, across: "step", field: "" };
const runs = [...root.querySelectorAll("[data-run]")].map((key, place) => ({
  key, place, name: key.dataset.name, url: key.dataset.run, last: 0, attempt: undefined, live: key.dataset.live === "true", order: [], points: nothing(),
}));

const metric = (name) => ({ kind: "metrics", value: (row) => row[METRIC[name]] });
const CHARTS = {
  loss: { ...metric("loss"), number: plain(3), smooth: true, log: true },
  validation: { kind: "validation", value: (row) => row[VALIDATION_LOSS], number: plain(3), dots: true, log: true },
  fields: { kind: "samples", value: (row) => (view.field ? fieldShare(view.field)(row) : row[SAMPLE.exact]), number: share, dots: true, range: [-0.02, 1.02] },
  learning_rate: { ...metric("learning_rate"), number: short },
  grad_norm: { ...metric("grad_norm"), number: short, smooth: true },
  tokens_per_second: { ...metric("tokens_per_second"), number: plain(0), smooth: true },
  memory_bytes: { ...metric("memory_bytes"), number: gigabytes },
};
const charts = Object.fromEntries(
  Object.entries(CHARTS).map(([name, { number, range }]) => [
    name,
    new Chart(root.querySelector(`[data-chart="${name}"]`), { sync, number, range, empty: "No point yet." }),
  ]),
);

function draw(name) {
  const { kind, value, dots, smooth, log } = CHARTS[name];
  const series = runs
    .filter((run) => !hidden.has(run.url))
    .map((run) => ({
      id: run.url, name: run.key.dataset.number, tone: tone(run.place), dash: dash(run.place), rows: run.points[kind], value, dots, smooth, tokens: tokensAt(run.points.metrics),
    }));
  charts[name].draw(series, { smooth: view.smooth, log: log && view.log, across: ACROSS[view.across], ended: runs.every((run) => !run.live) });
}

function drawAll() {
  for (const name of Object.keys(charts)) draw(name);
}

// The fields of all runs, in the order of the first schema, to choose one from.
function listFields() {
  const select = root.querySelector("[data-field]");
  const names = [...new Set(runs.flatMap((run) => run.order))];
  if (select.options.length === names.length + 1) return;
  select.replaceChildren(select.options[0], ...names.map((name) => new Option(name, name)));
  select.value = view.field;
}

async function poll() {
  const answers = await Promise.allSettled(runs.filter((run) => run.live || run.last === 0).map(ask));
  if (answers.some((answer) => answer.value)) {
    listFields();
    drawAll();
  }
  const away = answers.some((answer) => answer.status === "rejected");
  if (away || runs.some((run) => run.live)) setTimeout(poll, POLL_MS);
}

root.addEventListener("change", (event) => {
  const { target } = event;
  if (target.matches("[data-smooth]")) view.smooth = target.checked;
  else if (target.matches("[data-log]")) view.log = target.checked;
  else if (target.matches("[data-across]")) view.across = target.value;
  else if (target.matches("[data-field]")) {
    view.field = target.value;
    charts.fields.shape = null;
  } else return;
  drawAll();
});
root.addEventListener("click", (event) => {
  const key = event.target.closest("[data-run]");
  if (key) toggle(key);
});
function toggle(key) {
  if (!hidden.delete(key.dataset.run)) hidden.add(key.dataset.run);
  const on = !hidden.has(key.dataset.run);
  key.setAttribute("aria-pressed", String(on));
  key.classList.toggle("off", !on);
  drawAll();
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input:not([type=checkbox]), textarea, select")) return;
  if (document.getElementById("keys").open) return;
  const box = { s: "[data-smooth]", l: "[data-log]" }[event.key];
  if (box) root.querySelector(box).click();
  else if (event.key === "x") {
    const select = root.querySelector("[data-across]");
    select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
    select.dispatchEvent(new Event("change", { bubbles: true }));
  } else if (runs[Number(event.key) - 1]) toggle(runs[Number(event.key) - 1].key);
});
follow(root, drawAll, () => Object.values(charts));
poll();

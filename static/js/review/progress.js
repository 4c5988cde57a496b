// Labels per day: bars drawn with uPlot from the JSON endpoint, and how many people were at work.
import uPlot from "../../vendor/uplot/uPlot.esm.js";

const box = document.querySelector("[data-days]");
const keys = document.querySelector("[data-keys]");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
let data = null;
let plot = null;

const axis = (extra) => ({
  stroke: css("--axis-ink"),
  grid: { stroke: css("--grid-line"), width: 1 },
  ticks: { show: false },
  font: "11px system-ui, sans-serif",
  size: 40,
  gap: 4,
  ...extra,
});
const whole = (_, splits) => splits.map((value) => (Number.isInteger(value) ? value.toLocaleString("en") : ""));
const day = (seconds) => new Date(seconds * 1000).toLocaleDateString("en", { day: "numeric", month: "short", timeZone: "UTC" });

function say(at) {
  const index = at ?? data.days.length - 1;
  const labels = data.labels[index];
  const people = data.people[index];
  keys.textContent = `${day(data.days[index])}: ${labels.toLocaleString("en")} label${labels === 1 ? "" : "s"} by ${people} ${people === 1 ? "person" : "people"}`;
}

// The newest day first; days without a label are left out.
function tabulate() {
  const row = (index) => {
    const line = document.createElement("tr");
    line.append(
      ...[day(data.days[index]), data.labels[index].toLocaleString("en"), data.people[index]].map((text, place) =>
        Object.assign(document.createElement("td"), { textContent: text, className: place ? "num" : "" }),
      ),
    );
    return line;
  };
  const busy = [...data.days.keys()].filter((index) => data.labels[index]).reverse();
  document.querySelector("[data-days-table]").replaceChildren(...busy.map(row));
}

function draw() {
  plot?.destroy();
  plot = new uPlot(
    {
      width: box.clientWidth,
      height: box.clientHeight,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"), // days come as midnights in UTC
      legend: { show: false },
      cursor: { y: false, points: { show: false } },
      scales: { x: { range: (_, low, high) => [low - 43200, high + 43200] }, y: { range: (_, low, high) => [0, Math.max(1, high * 1.08)] } },
      axes: [axis({ size: 26, values: (_, splits) => splits.map(day), incrs: [86400, 7 * 86400, 14 * 86400, 30 * 86400] }), axis({ values: whole })],
      series: [{}, { stroke: css("--series-a"), fill: css("--series-a"), width: 0, paths: uPlot.paths.bars({ size: [0.7, 40] }), points: { show: false } }],
      hooks: { setCursor: [(chart) => say(chart.cursor.idx)] },
    },
    [data.days, data.labels],
    box,
  );
  say(null);
}

const answer = await fetch(box.dataset.days, { headers: { accept: "application/json" } });
if (answer.ok) {
  data = await answer.json();
  draw();
  tabulate();
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: box.clientHeight })).observe(box);
  new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
} else {
  keys.textContent = `The curve cannot be drawn: the server answered with ${answer.status}. Reload the page.`;
}

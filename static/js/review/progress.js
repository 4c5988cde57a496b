// Labels per day: bars drawn with uPlot from the JSON endpoint, and how many people labeled.

import uPlot from "../../vendor/uplot/uPlot.esm.js";
import { find, make } from "../site/dom.js";
import { formatDay, formatNumber } from "../site/format.js";

/** @typedef {{ days: number[], labels: number[], people: number[] }} Days midnights in UTC in s, with counts for each */

const box = find(document, "[data-days]");
const caption = find(document, "[data-keys]");
const DAY = 86_400; // s

/** @param {string} name */
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @param {Partial<uPlot.Axis>} options @returns {uPlot.Axis} */
const axis = (options) => ({
  stroke: css("--axis-ink"),
  grid: { stroke: css("--grid-line"), width: 1 },
  ticks: { show: false },
  font: "11px system-ui, sans-serif",
  size: 40,
  gap: 4,
  ...options,
});

/** Describes a day below the chart. @param {Days} data */
function describe({ days, labels, people }, index = days.length - 1) {
  const [count, who] = [labels[index], people[index]];
  caption.textContent = `${formatDay(days[index])}: ${formatNumber(count)} label${count === 1 ? "" : "s"} by ${who} ${who === 1 ? "person" : "people"}`;
}

/** The newest day first; days without a label are left out. @param {Days} data */
function fillTable({ days, labels, people }) {
  const row = (/** @type {number} */ index) => {
    const line = make("tr");
    line.append(
      make("td", { textContent: formatDay(days[index]) }),
      make("td", { textContent: formatNumber(labels[index]), className: "num" }),
      make("td", { textContent: String(people[index]), className: "num" }),
    );
    return line;
  };
  const busy = [...days.keys()].filter((index) => labels[index]).reverse();
  find(document, "[data-days-table]").replaceChildren(...busy.map(row));
}

/** @param {Days} data */
function draw(data) {
  const plot = new uPlot(
    {
      width: box.clientWidth,
      height: box.clientHeight,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { show: false },
      cursor: { y: false, points: { show: false } },
      scales: {
        x: { range: (_, low, high) => [low - DAY / 2, high + DAY / 2] },
        y: { range: (_, _low, high) => [0, Math.max(1, high * 1.08)] },
      },
      axes: [
        axis({ size: 26, values: (_, splits) => splits.map((day) => formatDay(day)), incrs: [DAY, 7 * DAY, 14 * DAY, 30 * DAY] }),
        axis({ values: (_, splits) => splits.map((value) => (Number.isInteger(value) ? formatNumber(value) : "")) }),
      ],
      series: [
        {},
        {
          stroke: css("--series-a"),
          fill: css("--series-a"),
          width: 0,
          paths: uPlot.paths.bars?.({ size: [0.7, 40] }),
          points: { show: false },
        },
      ],
      hooks: { setCursor: [({ cursor }) => describe(data, cursor.idx ?? undefined)] },
    },
    [data.days, data.labels],
    box,
  );
  describe(data);
  return plot;
}

const response = await fetch(box.dataset.days ?? "", { headers: { accept: "application/json" } });
if (response.ok) {
  const data = /** @type {Days} */ (await response.json());
  let plot = draw(data);
  fillTable(data);
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: box.clientHeight })).observe(box);
  new MutationObserver(() => {
    plot.destroy();
    plot = draw(data);
  }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
} else {
  caption.textContent = `The server answered with ${response.status}. Reload the page.`;
}

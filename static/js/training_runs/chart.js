// Curves with uPlot, for the page of a run and for several runs in one chart.

/** @import { Across, ChartOptions, CurvesResponse, DrawOptions, Format, Mark, Points, Row, RunCurves, Series } from "./types" */

import uPlot from "../../vendor/uplot/uPlot.esm.js";
import { find, make } from "../site/dom.js";
import { formatDuration, formatNumber, isMissing } from "../site/format.js";

const DASHES = [undefined, [7, 4], [2, 3], [9, 3, 2, 3], [14, 4]];
const TONES = 8;
const MANY = 40; // points from which dots would hide the line
const SVG = "http://www.w3.org/2000/svg";

// Columns of a row of metrics, of validation, of the system and of samples.
export const METRIC = { loss: 3, learning_rate: 4, grad_norm: 5, tokens_per_second: 6, memory_bytes: 7, tokens: 8 };
export const VALIDATION_LOSS = 3;
export const SYSTEM = { cpu: 3, machine_cpu: 4, cores: 5, memory: 6, machine_memory: 7, memory_total: 8, gpu: 9, gpu_memory: 10, gpu_memory_total: 11 };
export const SAMPLE = { exact: 3, valid: 4, fields: 5 };

/** @type {(digits: number) => Format} */
export const fixed = (digits) => (value) => formatNumber(value, digits);

/** Three significant digits. @type {Format} */
export function short(value) {
  if (isMissing(value)) return "–";
  if (value === 0) return "0";
  return Math.abs(value) < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/** @param {number} value */
function compact(value) {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  return value >= 1e3 ? `${Number((value / 1e3).toPrecision(3))}K` : String(Math.round(value));
}

/** @type {Record<string, Across>} */
export const ACROSS = {
  step: { name: "step", at: (row) => row[0], format: (value) => (Number.isInteger(value) ? formatNumber(value) : "") },
  epoch: { name: "epoch", at: (row) => row[1], format: (value) => String(Number(value.toFixed(2))) },
  time: {
    name: "time",
    at: (row) => row[2],
    format: formatDuration,
    incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800],
  },
  tokens: { name: "tokens", at: (row, series) => series.tokens?.(row[0]), format: compact, missing: "These runs did not record their tokens." },
};

/** Tokens up to a step; where metrics have no row of that step, those of the last one before it. @param {Row[]} metrics */
export function tokensAt(metrics) {
  return (/** @type {number} */ step) => metrics.findLast((row) => row[0] <= step)?.[METRIC.tokens] ?? null;
}

/** Exponential moving average, corrected for its start as in Adam (Kingma & Ba 2015). @param {(number | null | undefined)[]} values */
export function smoothed(values, weight = 0.9) {
  let mean = 0;
  let mass = 0;
  return values.map((value) => {
    if (isMissing(value)) return value;
    mean = weight * mean + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return mean / mass;
  });
}

/**
 * Adds new rows by step; a repeated step, as after a resumption, replaces the old row.
 * @param {Row[]} rows @param {Row[]} fresh
 * @returns {Row[]}
 */
export function merged(rows, fresh) {
  const last = rows.at(-1);
  if (!last || (fresh.length && fresh[0][0] > last[0])) return [...rows, ...fresh];
  const byStep = new Map([...rows, ...fresh].map((row) => [row[0], row]));
  return [...byStep.values()].sort((a, b) => a[0] - b[0]);
}

/** @param {string} name */
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @param {number} index */
export const tone = (index) => (index % TONES) + 1;

/** @param {number} index */
export const dash = (index) => DASHES[index % DASHES.length];

/** The share of samples in which a field is exactly right. @type {(field: string) => (row: Row) => number | null} */
export const fieldShare = (field) => (row) => {
  const counts = fieldsOf(row)[field];
  return counts?.[1] ? counts[0] / counts[1] : null;
};

/** Exact values and values of each field, in a row of samples. @param {Row} row */
export const fieldsOf = (row) => /** @type {Record<string, [exact: number, all: number]>} */ (/** @type {unknown} */ (row[SAMPLE.fields] ?? {}));

/** A short piece of the line, with its dashes, for the legend. @param {Series} series */
function swatch(series) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `run-line swatch-line series-${series.tone}`);
  svg.setAttribute("viewBox", "0 0 20 6");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ x1: 0, x2: 20, y1: 3, y2: 3 })) line.setAttribute(name, String(value));
  if (series.dash) line.setAttribute("stroke-dasharray", series.dash.join(" "));
  svg.append(line);
  return svg;
}

/**
 * Columns as uPlot takes them: a point that a series does not have is undefined, a missing value is null, a gap.
 * @param {Series[]} series @param {Across} across @param {boolean} smooth
 * @returns {[number[], ...(number | null | undefined)[][]]}
 */
function columns(series, across, smooth) {
  const places = [...new Set(series.flatMap((one) => one.rows.map((row) => across.at(row, one))))].filter((x) => !isMissing(x));
  places.sort((a, b) => a - b);
  const index = new Map(places.map((x, at) => [x, at]));
  /** @type {(number | null | undefined)[][]} */
  const drawn = [];
  for (const one of series) {
    /** @type {(number | null | undefined)[]} */
    const raw = new Array(places.length).fill(undefined);
    for (const row of one.rows) {
      const x = across.at(row, one);
      const at = isMissing(x) ? undefined : index.get(x);
      if (at !== undefined) raw[at] = one.value(row) ?? null;
    }
    drawn.push(raw);
    if (one.smooth && smooth) drawn.push(smoothed(raw));
  }
  return [places, ...drawn];
}

/**
 * With smoothing the raw curve stays, faint, behind the smooth one.
 * @param {Series[]} series @param {boolean} smooth
 * @returns {uPlot.Series[]}
 */
function linesOf(series, smooth) {
  return series.flatMap((one) => {
    const color = css(`--series-${one.tone}`);
    const line = {
      label: one.name || "value",
      stroke: color,
      width: 1.75,
      spanGaps: false,
      dash: one.dash,
      points: { show: (Boolean(one.dots) && one.rows.length <= MANY) || one.rows.length === 1, size: 6, fill: color },
    };
    return one.smooth && smooth ? [{ ...line, alpha: 0.25, width: 1, points: { show: false } }, line] : [line];
  });
}

/** @param {(value: number) => string} format @param {number} size @returns {uPlot.Axis} */
function axis(format, size) {
  return {
    stroke: css("--axis-ink"),
    grid: { stroke: css("--grid-line"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
    gap: 4,
    size,
    values: (_, splits) => splits.map((split) => (split === null ? "" : format(split))),
  };
}

/** @param {Series} series */
const idOf = (series) => series.id ?? series.name;

/** One chart in a figure with [data-plot] and [data-keys], its legend. */
export class Chart {
  /** @type {uPlot | null} */
  #plot = null;
  /** @type {Set<string>} ids of the series that the user turned off */
  #hidden = new Set();
  /** @type {Series[]} those that are drawn */
  #series = [];
  /** @type {Mark[]} */
  #marks = [];
  #across = ACROSS.step;
  #shape = "";
  #legend = "";
  #redraw = () => {};

  /** @param {HTMLElement} figure @param {ChartOptions} options */
  constructor(figure, { sync, number, empty, range, height = 220, toggles = false }) {
    this.sync = sync;
    this.number = number;
    this.empty = empty;
    this.range = range;
    this.height = height;
    this.toggles = toggles;
    this.box = find(figure, "[data-plot]");
    this.list = find(figure, "[data-keys]");
    if (toggles) this.list.addEventListener("click", (event) => this.#toggle(event.target));
  }

  /** The next draw makes the plot again, as for other curves in the same place. */
  reset() {
    this.#shape = "";
  }

  /** @param {Series[]} series @param {DrawOptions} options */
  draw(series, { smooth = false, log = false, across = ACROSS.step, marks = [], ended = false } = {}) {
    this.#redraw = () => this.draw(series, { smooth, log, across, marks, ended });
    this.#marks = marks;
    this.#series = series.filter((one) => !this.#hidden.has(idOf(one)));
    this.#across = across;
    this.#drawLegend(series);
    const hasPoint = this.#series.some((one) => one.rows.some((row) => !isMissing(one.value(row)) && !isMissing(across.at(row, one))));
    if (!hasPoint) {
      this.#drawEmpty(ended);
      return;
    }
    const data = columns(this.#series, across, smooth);
    const logarithmic = log && data.slice(1).every((column) => column.every((value) => isMissing(value) || value > 0));
    const parts = this.#series.map((one) => [idOf(one), one.tone, one.rows.length > 1, one.rows.length > MANY]);
    const shape = JSON.stringify([parts, smooth, logarithmic, across.name, document.documentElement.dataset.bsTheme]);
    if (this.#plot && this.#shape === shape) {
      this.#plot.setData(data);
      return;
    }
    this.#plot?.destroy();
    this.box.replaceChildren();
    this.#shape = shape;
    this.#plot = new uPlot(this.#options(linesOf(this.#series, smooth), logarithmic), data, this.box);
  }

  fit() {
    this.#plot?.setSize({ width: this.box.clientWidth, height: this.height });
  }

  /** @param {uPlot.Series[]} lines @param {boolean} logarithmic @returns {uPlot.Options} */
  #options(lines, logarithmic) {
    const { range } = this;
    /** @type {uPlot.Range.Function} */
    const fitted = (_, low, high) => (low === high ? [low - Math.abs(low || 1) / 2, high + Math.abs(high || 1) / 2] : uPlot.rangeNum(low, high, 0.1, true));
    return {
      width: this.box.clientWidth,
      height: this.height,
      padding: [10, 16, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: this.sync.key, setSeries: false }, drag: { x: true, y: false }, points: { size: 7 } },
      scales: { x: { time: false }, y: logarithmic ? { distr: 3 } : { range: range ? [...range] : fitted } },
      axes: [{ ...axis(this.#across.format, 26), space: 60, ...(this.#across.incrs && { incrs: this.#across.incrs }) }, axis(this.number, 54)],
      series: [{}, ...lines],
      hooks: { setCursor: [(plot) => this.#drawValues(plot.cursor.idx)], draw: [(plot) => this.#drawMarks(plot)] },
    };
  }

  /** @param {boolean} ended */
  #drawEmpty(ended) {
    this.#plot?.destroy();
    this.#plot = null;
    const withoutAxis = this.#series.some((one) => one.rows.length) && this.#across.missing;
    const text = !this.#series.length && this.#hidden.size ? "All series are turned off." : withoutAxis || (ended ? "The run ended before its first point." : this.empty);
    this.box.replaceChildren(make("div", { className: "plot-empty", textContent: text }));
  }

  /**
   * The legend is made once for the same series, so that a click is not lost when a value under the pointer changes.
   * @param {Series[]} series
   */
  #drawLegend(series) {
    const legend = JSON.stringify(series.map((one) => [idOf(one), one.tone]));
    if (legend !== this.#legend) {
      this.#legend = legend;
      this.list.replaceChildren(...series.map((one) => this.#key(one)));
    }
    for (const key of this.list.children) {
      const off = this.#hidden.has(key.dataset.series ?? "");
      if (this.toggles) key.setAttribute("aria-pressed", String(!off));
      key.classList.toggle("off", off);
    }
    this.#drawValues(null);
  }

  /** @param {Series} series */
  #key(series) {
    const key = this.toggles ? make("button", { type: "button" }) : make("span");
    key.className = "chart-key";
    key.dataset.series = idOf(series);
    if (series.name) key.append(swatch(series), `${series.name} `);
    key.append(make("b"));
    return key;
  }

  /**
   * The values under the pointer, else the last ones. A series without a point there shows the one before.
   * @param {number | null | undefined} index
   */
  #drawValues(index) {
    const x = isMissing(index) ? null : this.#plot?.data[0][index] ?? null;
    const shown = new Map(this.#series.map((one) => [idOf(one), one]));
    for (const key of this.list.children) {
      const series = shown.get(key.dataset.series ?? "");
      find(key, "b").textContent = series ? this.number(this.#valueAt(series, x)) : "";
    }
  }

  /** @param {Series} series @param {number | null} x */
  #valueAt(series, x) {
    let found = null;
    for (const row of series.rows) {
      const at = this.#across.at(row, series);
      if (isMissing(at)) continue;
      if (x !== null && at > x) break;
      found = row;
    }
    return found && series.value(found);
  }

  /** @param {HTMLElement} target */
  #toggle(target) {
    const id = target.closest("[data-series]")?.dataset.series;
    if (id === undefined) return;
    if (!this.#hidden.delete(id)) this.#hidden.add(id);
    this.#redraw();
  }

  /** @param {uPlot} plot */
  #drawMarks(plot) {
    const { ctx, bbox } = plot;
    const scale = devicePixelRatio;
    const half = this.#marks.length > MANY ? 1 : 4;
    ctx.save();
    for (const mark of this.#marks) {
      const x = plot.valToPos(mark.x, "x", true);
      if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
      ctx.beginPath();
      if (mark.kind === "best") {
        ctx.strokeStyle = css("--good");
        ctx.lineWidth = 2 * scale;
        ctx.arc(x, plot.valToPos(mark.y, "y", true), 7 * scale, 0, 2 * Math.PI);
        ctx.stroke();
      } else {
        const bottom = bbox.top + bbox.height;
        ctx.fillStyle = css("--axis-ink");
        ctx.moveTo(x - half * scale, bottom);
        ctx.lineTo(x + half * scale, bottom);
        ctx.lineTo(x, bottom - 7 * scale);
        ctx.fill();
      }
    }
    ctx.restore();
  }
}

/**
 * Draws again when the theme changes, and fits the charts to the width of `root`.
 * @param {HTMLElement} root @param {() => void} drawAll @param {Chart[]} charts
 */
export function redrawOnChange(root, drawAll, charts) {
  new MutationObserver(drawAll).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
  new ResizeObserver(() => charts.forEach((chart) => chart.fit())).observe(root);
}

/** Curves of a run before its first request. @param {string} url @param {boolean} live @returns {RunCurves} */
export const newCurves = (url, live) => ({ url, last: 0, attempt: undefined, live, best: null, order: [], points: noPoints() });

/**
 * Fetches what is new in the curves of a run and merges it into its points.
 * @param {RunCurves} curves
 * @returns {Promise<boolean>} whether anything changed
 */
export async function fetchCurves(curves) {
  const response = await fetch(`${curves.url}?after=${curves.last}`, { headers: { Accept: "application/json" } });
  if (!response.ok || response.redirected) throw new Error(String(response.status));
  const fresh = /** @type {CurvesResponse} */ (await response.json());
  if (curves.attempt !== undefined && fresh.attempt !== curves.attempt) {
    // The run was resumed: points after its checkpoint are void.
    Object.assign(curves, { last: 0, attempt: fresh.attempt, points: noPoints() });
    return fetchCurves(curves);
  }
  let changed = curves.last === 0 || fresh.live !== curves.live || fresh.best !== curves.best;
  for (const kind of /** @type {(keyof Points)[]} */ (Object.keys(curves.points))) {
    if (!fresh[kind].length) continue;
    curves.points[kind] = merged(curves.points[kind], fresh[kind]);
    changed = true;
  }
  Object.assign(curves, { last: fresh.last, attempt: fresh.attempt, live: fresh.live, best: fresh.best, order: fresh.order ?? curves.order });
  return changed;
}

/** @returns {Points} */
const noPoints = () => ({ metrics: [], validation: [], samples: [], checkpoint: [], system: [] });

/** Charts with the same name share their cursor. @param {string} name */
export const synced = (name) => uPlot.sync(name);

// Curves with uPlot, for the page of a run and for several runs over one another.
import uPlot from "../../vendor/uplot/uPlot.esm.js";

const DASHES = [undefined, [7, 4], [2, 3], [9, 3, 2, 3], [14, 4]];
const TONES = 8;
const MANY = 40;

export const plain = (digits) => (value) => (value === null || value === undefined ? "–" : value.toFixed(digits));
export const short = (value) =>
  value === null || value === undefined ? "–" : value === 0 ? "0" : Math.abs(value) < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
export const share = (value) => (value === null || value === undefined ? "–" : `${Math.round(value * 100)} %`);
export const gigabytes = (value) =>
  value === null || value === undefined ? "–" : value >= 1e9 ? `${Number((value / 1e9).toPrecision(3))} GB` : `${Math.round(value / 1e6)} MB`;

const amount = (value) => (value >= 1e6 ? `${Number((value / 1e6).toPrecision(3))} M` : value >= 1e3 ? `${Number((value / 1e3).toPrecision(3))} k` : String(Math.round(value)));

// What stands along the bottom: where a row of a series has it, how it is written.
export const ACROSS = {
  step: { at: (row) => row[0], words: (value) => (Number.isInteger(value) ? value.toLocaleString("en") : ""), name: "step" },
  epoch: { at: (row) => row[1], words: (value) => String(Number(value.toFixed(2))), name: "epoch" },
  time: { at: (row) => row[2], words: seconds, name: "time", incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800] },
  tokens: { at: (row, one) => one.tokens(row[0]), words: amount, name: "tokens", missing: "These runs have not noted their tokens." },
};

// Tokens learned from up to a step; of the metrics before it where there are none of that very step.
export function tokensAt(metrics) {
  return (step) => {
    let low = 0;
    let high = metrics.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (metrics[middle][0] <= step) low = middle + 1;
      else high = middle;
    }
    return low ? (metrics[low - 1][METRIC.tokens] ?? null) : null;
  };
}

function seconds(value) {
  if (value < 120) return `${Math.round(value)} s`;
  return value < 7200 ? `${Number((value / 60).toFixed(1))} min` : `${Number((value / 3600).toFixed(1))} h`;
}

// Exponential moving average, with the weight of the past corrected at the start (as Adam does it).
export function smoothed(values, weight = 0.9) {
  let mean = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    mean = weight * mean + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return mean / mass;
  });
}

// A point that is told again, as after a resumption, takes the place of the one there was. Rows are sorted by step.
export function merged(rows, fresh) {
  if (!rows.length || (fresh.length && fresh[0][0] > rows.at(-1)[0])) return [...rows, ...fresh];
  const byStep = new Map(rows.map((row) => [row[0], row]));
  for (const row of fresh) byStep.set(row[0], row);
  return [...byStep.values()].sort((a, b) => a[0] - b[0]);
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const tone = (place) => (place % TONES) + 1;
export const dash = (place) => DASHES[place % DASHES.length];

// A short piece of the line, with its dashes, for the key.
function swatch(one) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `run-line swatch-line series-${one.tone}`);
  svg.setAttribute("viewBox", "0 0 20 6");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(svg.namespaceURI, "line");
  for (const [name, value] of Object.entries({ x1: 0, x2: 20, y1: 3, y2: 3 })) line.setAttribute(name, value);
  if (one.dash) line.setAttribute("stroke-dasharray", one.dash.join(" "));
  svg.append(line);
  return svg;
}

// Columns as uPlot takes them: what a series does not have at all is undefined, a value that is missing is null, a gap.
function columns(series, across, smooth) {
  const places = [...new Set(series.flatMap((one) => one.rows.map((row) => across.at(row, one))))].filter((x) => x !== null && x !== undefined);
  places.sort((a, b) => a - b);
  const index = new Map(places.map((x, at) => [x, at]));
  const drawn = [];
  for (const one of series) {
    const raw = new Array(places.length).fill(undefined);
    for (const row of one.rows) {
      const at = index.get(across.at(row, one));
      if (at !== undefined) raw[at] = one.value(row) ?? null;
    }
    if (one.smooth && smooth) drawn.push(raw, smoothed(raw));
    else drawn.push(raw);
  }
  return [places, ...drawn];
}

// With smoothing the raw curve stays, faint, behind the smooth one.
function lines(series, smooth) {
  const drawn = [];
  for (const one of series) {
    const colour = css(`--series-${one.tone}`);
    const line = {
      label: one.name || "value",
      stroke: colour,
      width: one.width ?? 1.75,
      spanGaps: false,
      dash: one.dash,
      // Where there are many points, dots would hide the line.
      points: { show: (Boolean(one.dots) && one.rows.length <= MANY) || one.rows.length === 1, size: 6, fill: colour },
    };
    if (one.smooth && smooth) drawn.push({ ...line, alpha: 0.25, width: 1, points: { show: false } }, line);
    else drawn.push(line);
  }
  return drawn;
}

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

/**
 * One chart in a figure with [data-plot] and [data-keys].
 *
 * `series`: {name, tone 1..8, rows, value(row), tokens(step)?, smooth?, dots?, dash?, width?, id?}; those whose id is in `hidden` are
 * listed, but not drawn. `marks`: {x, kind: "checkpoint"} below the curves, {x, y, kind: "best"} as a ring.
 */
export class Chart {
  constructor(figure, { sync, number, empty, range = null, height = 220, toggles = false }) {
    Object.assign(this, { figure, sync, number, empty, range, height, toggles });
    this.box = figure.querySelector("[data-plot]");
    this.list = figure.querySelector("[data-keys]");
    this.hidden = new Set();
    this.plot = null;
    if (toggles) this.list.addEventListener("click", (event) => this.#toggle(event));
  }

  draw(series, { smooth = false, log = false, across = ACROSS.step, marks = [], ended = false } = {}) {
    this.last = [series, { smooth, log, across, marks, ended }];
    this.marks = marks;
    this.series = series.filter((one) => !this.hidden.has(one.id ?? one.name));
    this.across = across;
    this.#keys(series);
    const there = (one, row) => (one.value(row) ?? null) !== null && (across.at(row, one) ?? null) !== null;
    if (!this.series.some((one) => one.rows.some((row) => there(one, row)))) return this.#nothing(ended);
    const data = columns(this.series, across, smooth);
    const logarithmic = log && data.slice(1).every((column) => column.every((value) => value === null || value === undefined || value > 0));
    const parts = this.series.map((one) => [one.id ?? one.name, one.tone, one.rows.length > 1, one.rows.length > MANY]);
    const shape = JSON.stringify([parts, smooth, logarithmic, across.name, document.documentElement.dataset.bsTheme]);
    if (this.plot && this.shape === shape) {
      this.plot.setData(data);
      return;
    }
    this.plot?.destroy();
    this.box.replaceChildren();
    this.shape = shape;
    this.plot = new uPlot(this.#options(lines(this.series, smooth), logarithmic), data, this.box);
  }

  fit() {
    this.plot?.setSize({ width: this.box.clientWidth, height: this.height });
  }

  #options(drawn, logarithmic) {
    const flat = (_, low, high) => (low === high ? [low - Math.abs(low || 1) / 2, high + Math.abs(high || 1) / 2] : uPlot.rangeNum(low, high, 0.1, true));
    return {
      width: this.box.clientWidth,
      height: this.height,
      padding: [10, 16, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: this.sync.key, setSeries: false }, drag: { x: true, y: false }, points: { size: 7 } },
      scales: {
        x: { time: false },
        y: logarithmic ? { distr: 3 } : { range: this.range ? [this.range[0], this.range[1]] : flat },
      },
      axes: [{ ...axis(this.across.words, 26), space: 60, ...(this.across.incrs ? { incrs: this.across.incrs } : {}) }, axis(this.number, 54)],
      series: [{}, ...drawn],
      hooks: { setCursor: [(plot) => this.#values(plot.cursor.idx)], draw: [(plot) => this.#marks(plot)] },
    };
  }

  #nothing(ended) {
    this.plot?.destroy();
    this.plot = null;
    const note = document.createElement("div");
    note.className = "plot-empty";
    const unknown = this.series.some((one) => one.rows.length) && this.across.missing;
    note.textContent = this.series.length === 0 && this.hidden.size ? "All of them are switched off." : unknown ? unknown : ended ? "The run ended before there was a point." : this.empty;
    this.box.replaceChildren(note);
  }

  // The keys are made once for the same series, so that a click on one is not lost when a value under the mouse changes.
  #keys(series) {
    const names = JSON.stringify(series.map((one) => [one.id ?? one.name, one.tone]));
    if (names !== this.names) {
      this.names = names;
      this.list.replaceChildren(...series.map((one) => this.#key(one)));
    }
    for (const key of this.list.children) {
      const off = this.hidden.has(key.dataset.series);
      if (this.toggles) key.setAttribute("aria-pressed", String(!off));
      key.classList.toggle("off", off);
    }
    this.#values(null);
  }

  #key(one) {
    const key = document.createElement(this.toggles ? "button" : "span");
    if (this.toggles) key.type = "button";
    key.className = "chart-key";
    key.dataset.series = one.id ?? one.name;
    const value = document.createElement("b");
    if (one.name) key.append(swatch(one), `${one.name} `, value);
    else key.append(value);
    return key;
  }

  // What the curves have where the mouse is, else their last value. A series without a point there shows its last one.
  #values(index) {
    const x = index === null || index === undefined || !this.plot ? null : this.plot.data[0][index];
    const shown = new Map(this.series.map((one) => [one.id ?? one.name, one]));
    for (const key of this.list.children) {
      const one = shown.get(key.dataset.series);
      let found = null;
      if (one) {
        for (const row of one.rows) {
          const at = this.across.at(row, one);
          if (x !== null && at > x) break;
          if (at !== null && at !== undefined) found = row;
        }
      }
      key.querySelector("b").textContent = one ? this.number(found ? (one.value(found) ?? null) : null) : "";
    }
  }

  #toggle(event) {
    const key = event.target.closest("[data-series]");
    if (!key) return;
    const id = key.dataset.series;
    if (!this.hidden.delete(id)) this.hidden.add(id);
    this.draw(...this.last);
  }

  #marks(plot) {
    const { ctx, bbox } = plot;
    const scale = devicePixelRatio;
    const half = this.marks.length > MANY ? 1 : 4;
    ctx.save();
    for (const mark of this.marks) {
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

// Draws again when the theme or the width changes.
export function follow(root, drawAll, charts) {
  new MutationObserver(drawAll).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
  new ResizeObserver(() => charts().forEach((chart) => chart.fit())).observe(root);
}

// Asks for what is new in a run's curves and merges it into its points; gives whether anything changed.
export async function ask(state) {
  const answer = await fetch(`${state.url}?after=${state.last}`, { headers: { Accept: "application/json" } });
  if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
  const fresh = await answer.json();
  if (state.attempt !== undefined && fresh.attempt !== state.attempt) {
    // The run was taken up again: what was drawn after its checkpoint is void.
    Object.assign(state, { last: 0, attempt: fresh.attempt, points: nothing() });
    return ask(state);
  }
  let changed = state.last === 0 || fresh.live !== state.live || fresh.best !== state.best;
  for (const kind of Object.keys(state.points)) {
    if (!fresh[kind].length) continue;
    state.points[kind] = merged(state.points[kind], fresh[kind]);
    changed = true;
  }
  Object.assign(state, { last: fresh.last, attempt: fresh.attempt, live: fresh.live, best: fresh.best, order: fresh.order ?? state.order });
  return changed;
}

export const nothing = () => ({ metrics: [], validation: [], samples: [], checkpoint: [] });
export const synced = (name) => uPlot.sync(name);

// Columns of a row of metrics; of one of samples; of one of validation.
export const METRIC = { loss: 3, learning_rate: 4, grad_norm: 5, tokens_per_second: 6, memory_bytes: 7, tokens: 8 };
export const VALIDATION_LOSS = 3;
export const SAMPLE = { exact: 3, valid: 4, fields: 5 };
export const fieldShare = (name) => (row) => {
  const judged = row[SAMPLE.fields]?.[name];
  return judged && judged[1] ? judged[0] / judged[1] : null;
};

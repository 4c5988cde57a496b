// From the scores of windows to one valid output: mirrors training/ml/encoders/output_decoder.py and windows.py.

import { problemsOf } from "./contract.js";
import { valueOf } from "./values.js";

/** @typedef {import("./contract.js").Json} Json */
/** @typedef {import("./contract.js").Encoder} Encoder */
/** @typedef {import("./contract.js").Head} Head */
/** @typedef {import("./contract.js").Node} Node */
/** @typedef {import("./values.js").Leaf} Leaf */
/** @typedef {import("./tokenizer.js").Token} Token */
/** @typedef {{ ids: number[], tokens: Token[] }} Window `ids` with the special tokens, `tokens` without them */
/** @typedef {Record<string, { data: ArrayLike<number>, dims: readonly number[] }>} Scores of one window */
/** @typedef {{ value: Json, text: string, probability: number }} Candidate `text`: the value as JSON */
/** @typedef {{ start: number, end: number, label: number, probability: number, beginsRow: boolean, choices: Candidate[] }} Stretch `choices`: of a row that begins with it */
/** @typedef {{ text: string, letters: string[], order: string }} Document */

const CANDIDATES = 5, COMBINATIONS = 64, STRETCHES = 20, LIKELY = 0.5, OVERLAP = 0.25;
const MAX_COMPLETED = 100; // letters and digits at an end of a stretch
const MARKS = [".", ",", "'", "’"]; // between the digits of a number
const DATE_ORDER = "#date-order";

/** @param {Token[]} read @param {string} text @param {Encoder} contract @returns {Window[]} */
export function windowsOf(read, text, { window, before, after, lineBreak }) {
  const tokens = lineBreak === null ? read : withLineBreaks(read, text, lineBreak);
  const room = window - before.length - after.length;
  const step = Math.max(1, room - Math.trunc(room * OVERLAP));
  const windows = [];
  for (let at = 0; at < Math.max(1, tokens.length - room + step); at += step) {
    const inside = tokens.slice(at, at + room);
    windows.push({ ids: [...before, ...inside.map((token) => token.id), ...after], tokens: inside });
  }
  return windows;
}

/**
 * The tokens with one more before each that begins a line; it has the place of the line break.
 * @param {Token[]} tokens @param {string} text @param {number} id @returns {Token[]}
 */
function withLineBreaks(tokens, text, id) {
  const letters = [...text], broken = [];
  let read = 0;
  for (const token of tokens) {
    let at = read;
    while (at < token.end && letters[at] !== "\n") at += 1;
    if (at < token.end) broken.push({ id, start: at, end: at + 1 });
    broken.push(token);
    read = Math.max(read, token.end);
  }
  return broken;
}

/** Decodes the scores of the windows of a document under a schema. */
export class OutputDecoder {
  /** @param {Encoder} contract */
  constructor(contract) {
    this.contract = contract;
  }

  /** @param {string} text @param {Window[]} windows @param {Scores[]} scores @returns {import("./contract.js").Answer} */
  decode(text, windows, scores) {
    const { heads, tree, schema } = this.contract;
    /** @type {Document} */
    const document = { text, letters: [...text], order: "" };
    const orders = heads.find((head) => head.pattern === DATE_ORDER);
    if (orders) document.order = String(classesOf(orders, windows, scores)[0].value);
    /** @type {[string, Candidate[]][]} */
    const choices = [];
    /** @type {Record<string, Json>} */
    const lists = {};
    /** @type {Record<string, number>} */
    const confidence = {};
    for (const head of heads) {
      if (head === orders) continue;
      if (head.kind === "span") choices.push([head.pattern, this.#spanCandidates(head, document, windows, scores)]);
      else if (head.kind === "decision" && !head.several) choices.push([head.pattern, classesOf(head, windows, scores)]);
      else if (head.kind === "decision") [lists[head.pattern], confidence[head.pattern]] = severalOf(head, windows, scores);
      else {
        const first = this.contract.before.length;
        const parts = windows.map(({ tokens }, number) => ({ tokens, first, scores: scores[number][`tags.${head.number}`] }));
        const stretches = stretchesOf(head, document.letters, parts);
        lists[head.pattern] = head.kind === "rows" ? this.#rows(head, stretches, document, confidence) : this.#tags(head, stretches, document, confidence);
      }
    }
    let best;
    for (const chosen of combinations(choices.map(([, candidates]) => candidates), COMBINATIONS)) {
      const values = { ...lists }, certain = { ...confidence };
      choices.forEach(([pattern], number) => {
        values[pattern] = chosen[number].value;
        certain[pattern] = chosen[number].probability;
      });
      const output = assembled(tree, values, this.contract.usual) ?? {};
      const problems = problemsOf(schema, output);
      best = best && problems.length ? best : { output, text: JSON.stringify(output), confidence: certain, problems };
      if (!problems.length) break;
    }
    return /** @type {import("./contract.js").Answer} */ (best);
  }

  /** The likeliest values, null among them where the schema allows it. @param {Head} head @param {Document} document @param {Window[]} windows @param {Scores[]} scores */
  #spanCandidates(head, document, windows, scores) {
    /** @type {Map<string, number>} */
    const values = new Map();
    let absent = 1;
    for (const [at, window] of windows.entries()) {
      const narrow = narrowed(scores[at], head.number);
      absent = Math.min(absent, narrow.absent);
      for (const [text, probability] of this.#windowValues(head, document, window, narrow.stretches)) {
        if (probability > (values.get(text) ?? 0)) values.set(text, probability);
      }
    }
    const candidates = [...values].map(([text, probability]) => ({ value: JSON.parse(text), text, probability }));
    const none = { value: null, text: "null", probability: absent };
    if (head.leaf?.nullable || !head.leaf?.required) candidates.push(none);
    candidates.sort((a, b) => b.probability - a.probability);
    return candidates.length ? candidates.slice(0, CANDIDATES) : [none];
  }

  /** @param {Head} head @param {Document} document @param {Window} window @param {[number, number, number][]} stretches */
  #windowValues(head, document, { tokens }, stretches) {
    /** @type {Map<string, number>} */
    const values = new Map();
    const first = this.contract.before.length;
    for (const [start, after, probability] of stretches) {
      if (probability < 1e-6) break;
      const low = start - first, high = low + after;
      if (low < 0 || high >= tokens.length) continue;
      const [from, to] = wholeWords(head, document.letters, tokens[low].start, tokens[high].end);
      const value = this.#value(head.leaf, document, from, to);
      if (value !== null) values.set(value, (values.get(value) ?? 0) + probability);
    }
    return values;
  }

  /** The value of a stretch as JSON; null where it has none that the field allows. @param {Leaf | null} leaf @param {Document} document @param {number} start @param {number} end */
  #value(leaf, document, start, end) {
    const value = this.#read(leaf, document, start, end);
    return value !== null && isAllowed(leaf, JSON.parse(value)) ? value : null;
  }

  /** @param {Leaf | null} leaf @param {Document} document @param {number} start @param {number} end */
  #read(leaf, document, start, end) {
    if (!leaf) return null;
    const known = { spelling: this.contract.spelling[leaf.pattern], order: document.order };
    return valueOf(leaf, document.letters.slice(start, end).join(""), document.text, known);
  }

  /** @param {Head} head @param {Stretch[]} stretches @param {Document} document @param {Record<string, number>} confidence */
  #tags(head, stretches, document, confidence) {
    /** @type {Map<string, Json>} */
    const rows = new Map();
    for (const { start, end, label, probability } of stretches) {
      const value = this.#value(head.leaf, document, start, end);
      if (value === null) continue;
      /** @type {Json} */
      let row = JSON.parse(value);
      if (head.leaf && head.typeName) row = { [head.leaf.name]: row, [head.typeName]: head.classes[label] };
      if (rows.has(JSON.stringify(row))) continue;
      const path = `${head.pattern}[${rows.size}]`;
      for (const name of head.typeName ? Object.keys(/** @type {object} */ (row)) : [""]) confidence[joined(path, name)] = probability;
      rows.set(JSON.stringify(row), row);
    }
    return [...rows.values()];
  }

  /** Rows in reading order; the choices of a row are those of its first stretch. A value that its column does not allow is left out, or makes the output invalid where the column is required. @param {Head} head @param {Stretch[]} stretches @param {Document} document @param {Record<string, number>} confidence */
  #rows(head, stretches, document, confidence) {
    /** @type {Map<number, Stretch & { value: Json }>[]} */
    const grouped = [];
    for (const stretch of stretches) {
      const { leaf } = head.columns[stretch.label];
      const value = this.#read(leaf, document, stretch.start, stretch.end);
      if (value === null) continue;
      const row = grouped.at(-1), before = row?.get(stretch.label);
      if (before && !stretch.beginsRow && goesOn(leaf, document, before, stretch)) {
        row?.set(stretch.label, joinedCell(leaf, before, { ...stretch, value: JSON.parse(value) }));
        continue;
      }
      const isSecond = before && !stretch.beginsRow;
      if (isSecond && !isAllowed(leaf, JSON.parse(value))) continue;
      if (isSecond && !isAllowed(leaf, before.value)) row?.delete(stretch.label);
      else if (!row || stretch.beginsRow || before) grouped.push(new Map());
      grouped[grouped.length - 1].set(stretch.label, { ...stretch, value: JSON.parse(value) });
    }
    const item = /** @type {Node} */ (head.item);
    const needed = [...head.columns.keys()].filter((label) => head.columns[label].leaf?.required && !head.columns[label].leaf?.nullable);
    const isKept = (/** @type {[number, { value: Json }]} */ [label, cell]) => needed.includes(label) || isAllowed(head.columns[label].leaf, cell.value);
    const rows = completed(grouped, needed).filter((cells) => [...cells].some(isKept));
    return rows.map((cells, number) => {
      /** @type {Record<string, Json>} */
      const values = {}, [first] = cells.values();
      /** @type {[Head, { value: Json, probability: number }][]} */
      const row = [...cells].filter(isKept).map(([label, cell]) => [head.columns[label], cell]);
      head.choices.forEach((choice, at) => row.push([choice, first.choices[at]]));
      for (const [{ pattern }, { value, probability }] of row) {
        values[pattern] = value;
        confidence[`${head.pattern}[${number}]${pattern.slice(item.pattern.length)}`] = probability;
      }
      return assembled(item, values, this.contract.usual) ?? {};
    });
  }
}

/** @param {string} path @param {string} name */
export const joined = (path, name) => {
  if (!name) return path;
  if (!/^[^.[\]"\\\s]+$/u.test(name)) return `${path}[${JSON.stringify(name)}]`;
  return path ? `${path}.${name}` : name;
};

/** @param {Node} node @param {Record<string, Json>} values @param {Record<string, Json>} usual @returns {Json} */
function assembled(node, values, usual) {
  if (node.shape === "object" && !Object.hasOwn(values, node.pattern)) {
    const parts = Object.entries(node.children).map(([name, child]) => [name, assembled(child, values, usual)]);
    const present = parts.filter(([, value]) => value !== undefined);
    if (node.required || present.some(([, value]) => value !== null)) return Object.fromEntries(present);
    return node.nullable ? null : undefined;
  }
  const value = values[node.pattern];
  if (value !== null && value !== undefined) return value;
  if (node.nullable) return null;
  if (!node.required) return undefined;
  return node.shape === "array" ? [] : usual[node.pattern];
}

/** The likeliest stretches of a field in a window, and the probability of no answer. @param {Scores} scores @param {number} field */
function narrowed({ spans, none }, field) {
  const [, , tokens, length] = spans.dims, offset = field * tokens * length;
  /** @type {number[]} */
  const best = [];
  const score = (/** @type {number} */ at) => spans.data[offset + at];
  for (let at = 0; at < tokens * length; at++) {
    if (best.length === STRETCHES && score(at) <= score(best[STRETCHES - 1])) continue;
    const place = best.findIndex((other) => score(at) > score(other));
    best.splice(place < 0 ? best.length : place, 0, at);
    best.length = Math.min(best.length, STRETCHES);
  }
  const top = Math.max(score(best[0]), none.data[field]);
  const without = Math.exp(none.data[field] - top);
  let total = without;
  for (let at = 0; at < tokens * length; at++) total += Math.exp(score(at) - top);
  /** @type {[number, number, number][]} */
  const stretches = best.map((at) => [Math.trunc(at / length), at % length, Math.exp(score(at) - top) / total]);
  return { stretches, absent: without / total };
}

/** @param {number[]} scores */
function softmax(scores) {
  const top = Math.max(...scores), odds = scores.map((score) => Math.exp(score - top));
  const total = odds.reduce((sum, value) => sum + value, 0);
  return odds.map((value) => value / total);
}

/** @param {number} score */
const sigmoid = (score) => 1 / (1 + Math.exp(-score));

/** The mean score of the windows, by their tokens. @param {string} name @param {Window[]} windows @param {Scores[]} scores */
function overWindows(name, windows, scores) {
  const weights = windows.map(({ tokens }) => Math.max(1, tokens.length));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Array.from(scores[0][name].data, (_, at) => scores.reduce((sum, score, number) => sum + score[name].data[at] * weights[number], 0) / total);
}

/** @param {Head} head @param {Window[]} windows @param {Scores[]} scores @returns {Candidate[]} */
const classesOf = (head, windows, scores) => likeliest(head, overWindows(`decision.${head.number}`, windows, scores));

/** The likeliest classes of a decision, the likeliest first. @param {Head} head @param {number[]} scores @returns {Candidate[]} */
function likeliest(head, scores) {
  const candidates = softmax(scores).map((probability, at) => {
    const value = head.classes[at];
    return { value, text: JSON.stringify(value), probability };
  });
  return candidates.sort((a, b) => b.probability - a.probability).slice(0, CANDIDATES);
}

/** The likeliest class of each choice. @param {Head} head @param {number[]} scores of all their classes, of the first token of a row */
function choicesOfRow(head, scores) {
  let end = 0;
  return head.choices.map((choice) => likeliest(choice, scores.slice(end, (end += choice.classes.length)))[0]);
}

/** @param {Head} head @param {Window[]} windows @param {Scores[]} scores @returns {[Json[], number]} */
function severalOf(head, windows, scores) {
  const probabilities = overWindows(`decision.${head.number}`, windows, scores).map(sigmoid);
  return [head.classes.filter((_, at) => probabilities[at] >= LIKELY), Math.min(...probabilities.map((value) => Math.max(value, 1 - value)))];
}

/** @typedef {{ tokens: Token[], first: number, scores: Scores[string] }} TaggedWindow */

/** Tagged stretches in reading order; where windows overlap, the likelier ones. @param {Head} head @param {string[]} letters @param {TaggedWindow[]} windows */
function stretchesOf(head, letters, windows) {
  const all = windows.flatMap((window) => windowStretches(head, letters, window));
  /** @type {Stretch[]} */
  const kept = [];
  for (const stretch of all.sort((a, b) => b.probability - a.probability || a.start - b.start)) {
    if (kept.every((other) => stretch.end <= other.start || other.end <= stretch.start)) kept.push(stretch);
  }
  return kept.sort((a, b) => a.start - b.start);
}

/** @param {Head} head @param {string[]} letters @param {TaggedWindow} window @returns {Stretch[]} */
function windowStretches(head, letters, { tokens, first, scores }) {
  const width = scores.dims[2], classes = head.kind === "rows" ? 1 + 2 * head.columns.length : width;
  const rows = tokens.map((_, at) => Array.from({ length: width }, (__, label) => scores.data[(first + at) * width + label]));
  const probabilities = rows.map((row) => softmax(row.slice(0, classes)));
  const labels = labelsOf(probabilities, tokens.map(({ start }) => isInNumber(letters, start) || isInWord(head, letters, start)));
  const stretches = [];
  for (let at = 0, end; at < tokens.length; at = end) {
    end = at + 1;
    if (labels[at] === 0) continue;
    const label = Math.trunc((labels[at] - 1) / 2);
    while (end < labels.length && labels[end] === 2 + 2 * label) end += 1;
    let product = 1;
    for (let inside = at; inside < end; inside++) product *= probabilities[inside][labels[inside]];
    const beginsRow = head.kind === "rows" && sigmoid(rows[at][classes]) >= LIKELY;
    const choices = choicesOfRow(head, rows[at].slice(classes + 1));
    stretches.push({ start: tokens[at].start, end: tokens[end - 1].end, label, probability: product ** (1 / (end - at)), beginsRow, choices });
  }
  return stretches;
}

/**
 * The likeliest label of each token: 0 outside, 2n + 1 where a stretch of class n begins, 2n + 2 inside. The tokens of a
 * word or number have one class.
 * @param {number[][]} probabilities @param {boolean[]} isInside a token is not the first of its word or number
 */
function labelsOf(probabilities, isInside) {
  const labels = probabilities.map((row) => row.indexOf(Math.max(...row)));
  for (let at = 0, end; at < labels.length; at = end) {
    end = at + 1;
    while (end < labels.length && isInside[end]) end += 1;
    if (end - at === 1) continue;
    const classes = Array.from({ length: (probabilities[at].length + 1) / 2 }, (_, number) => {
      const of = (/** @type {number[]} */ row) => (number ? row[2 * number - 1] + row[2 * number] : row[0]);
      return probabilities.slice(at, end).reduce((sum, row) => sum + Math.log(Math.max(of(row), 1e-12)), 0);
    });
    const best = classes.indexOf(Math.max(...classes)), first = probabilities[at];
    labels.fill(2 * best, at, end);
    if (best && first[2 * best - 1] >= first[2 * best]) labels[at] -= 1;
  }
  return labels;
}

/** Whether a number goes on at a character. @param {string[]} letters @param {number} at */
function isInNumber(letters, at) {
  const isDigit = (/** @type {number} */ place) => /^\p{Nd}$/u.test(letters[place] ?? "");
  const isMark = (/** @type {number} */ place) => MARKS.includes(letters[place] ?? " ");
  if (isDigit(at - 1)) return isDigit(at) || (isMark(at) && isDigit(at + 1));
  return isMark(at - 1) && isDigit(at - 2) && isDigit(at);
}

/** Whether a character goes on with a word that a stretch of a head does not divide. @param {Head} head @param {string[]} letters @param {number} at */
function isInWord({ isGlued, hasNumbers }, letters, at) {
  const [before, after] = [letters[at - 1] ?? "", letters[at] ?? ""], isLetter = /\p{L}/u, isPart = /[\p{L}\p{N}]/u;
  return !isGlued && isPart.test(before) && isPart.test(after) && !(hasNumbers && isLetter.test(before) !== isLetter.test(after));
}

/** A stretch with all of the words in which it begins and ends. @param {Head} head @param {string[]} letters @param {number} start @param {number} end */
function wholeWords(head, letters, start, end) {
  const low = Math.max(0, start - MAX_COMPLETED), high = end + MAX_COMPLETED;
  while (start > low && isInWord(head, letters, start)) start -= 1;
  while (end < high && isInWord(head, letters, end)) end += 1;
  return [start, end];
}

/** Whether a text goes on in a stretch on the next line. @param {Leaf | null} leaf @param {Document} document @param {Stretch} before @param {Stretch} after */
function goesOn(leaf, { letters }, before, after) {
  const breaks = letters.slice(before.end, after.start).filter((letter) => letter === "\n").length;
  return leaf?.type === "string" && leaf.isText && breaks === 1;
}

/** Whether the schema of a field allows a value. @param {Leaf | null} leaf @param {Json} value */
const isAllowed = (leaf, value) => !leaf?.schema || !problemsOf(leaf.schema, value).length;

/** A cell with the text that goes on in it, unless the whole is not allowed. @param {Leaf | null} leaf @param {Stretch & { value: Json }} before @param {Stretch & { value: Json }} after */
function joinedCell(leaf, before, after) {
  const value = `${before.value} ${after.value}`;
  if (!isAllowed(leaf, value)) return { ...before, end: after.end };
  return { ...before, end: after.end, value, probability: Math.min(before.probability, after.probability) };
}

/**
 * Rows with all the columns that they need: one that lacks some is joined with the row after it where the two have no
 * column in common, and left out otherwise.
 * @template T @param {Map<number, T>[]} rows @param {number[]} needed
 */
function completed(rows, needed) {
  /** @type {Map<number, T>[]} */
  const merged = [];
  const isComplete = (/** @type {Map<number, T>} */ cells) => needed.every((label) => cells.has(label));
  for (const cells of rows) {
    const last = merged.at(-1);
    if (last && !isComplete(last) && [...cells.keys()].every((label) => !last.has(label))) cells.forEach((cell, label) => last.set(label, cell));
    else merged.push(new Map(cells));
  }
  return merged.filter(isComplete);
}

/** Combinations of one candidate of each list, by falling product of their probabilities. @param {Candidate[][]} choices @param {number} most */
function* combinations(choices, most) {
  const cost = (/** @type {number[]} */ places) => places.reduce((sum, place, number) => sum - Math.log(Math.max(choices[number][place].probability, 1e-12)), 0);
  const first = choices.map(() => 0), seen = new Set([first.join()]);
  let queue = [{ places: first, cost: cost(first) }];
  for (let made = 0; made < most && queue.length; made++) {
    const best = queue.reduce((low, entry) => (entry.cost < low.cost ? entry : low));
    queue = queue.filter((entry) => entry !== best);
    yield best.places.map((place, number) => choices[number][place]);
    for (const number of choices.keys()) {
      const places = best.places.map((place, at) => place + (at === number ? 1 : 0));
      if (places[number] >= choices[number].length || seen.has(places.join())) continue;
      seen.add(places.join());
      queue.push({ places, cost: cost(places) });
    }
  }
}

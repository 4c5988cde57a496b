// The page of a bundle: a document in, its values out. Nothing leaves the browser.

import { $, make } from "../site/dom.js";
import { formatNumber, formatPercent } from "../site/format.js";
import { joined } from "./decoding.js";

/** @typedef {import("./contract.js").Json} Json */

const status = $("status");
const document_ = /** @type {HTMLTextAreaElement} */ ($("document"));
const button = /** @type {HTMLButtonElement} */ ($("extract"));

/** @type {import("./contract.js").Model} */
let model;

/** @param {string} text */
function say(text, state = "") {
  status.textContent = text;
  status.dataset.state = state;
}

/** @param {unknown} error */
const fail = (error) => say(error instanceof Error ? error.message : String(error), "failed");

async function load() {
  const response = await fetch("contract.json");
  if (!response.ok) throw new Error("contract.json is missing.");
  const contract = await response.json();
  if (contract.family === "encoder") model = await (await import("./encoder.js")).loadEncoder(contract);
  else model = await (await import("./decoder.js")).loadDecoder(contract);
  button.disabled = false;
  say("Ready.", "ready");
}

async function extract() {
  button.disabled = true;
  say("Reading the document …", "busy");
  const began = performance.now();
  try {
    const answer = await model.answer(document_.value);
    $("output").textContent = answer.text;
    const rows = [...leaves(answer.output)].map(([path, value]) => row(path, value, answer.confidence[path]));
    $("values").replaceChildren(...rows);
    const seconds = formatNumber((performance.now() - began) / 1000, 2);
    const problems = answer.problems.length ? ` The output does not match the schema: ${answer.problems[0]}` : "";
    say(`Answered in ${seconds} s.${problems}`, problems ? "failed" : "done");
  } catch (error) {
    fail(error);
  }
  button.disabled = false;
}

/** Every value of an output with its path. @param {Json} value @param {string} path @returns {Generator<[string, Json]>} */
function* leaves(value, path = "") {
  if (value === null || typeof value !== "object") yield [path, value];
  else if (Array.isArray(value)) for (const [number, item] of value.entries()) yield* leaves(item, `${path}[${number}]`);
  else for (const [name, item] of Object.entries(value)) yield* leaves(item, joined(path, name));
}

/** @param {string} path @param {Json} value @param {number | undefined} probability */
function row(path, value, probability) {
  const line = make("tr");
  const text = value === null ? "–" : String(value);
  line.append(make("th", { scope: "row", textContent: path }), make("td", { textContent: text }));
  line.append(make("td", { textContent: formatPercent(probability) }));
  return line;
}

/** @param {DragEvent} event */
async function drop(event) {
  const file = event.dataTransfer?.files[0];
  if (!file) return;
  event.preventDefault();
  document_.value = await file.text();
}

button.addEventListener("click", () => void extract());
document_.addEventListener("dragover", (event) => event.preventDefault());
document_.addEventListener("drop", (event) => void drop(event));
load().catch(fail);

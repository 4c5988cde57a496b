// Review by keys: a letter presses a button or link of the page, a digit chooses an answer; marks in the text and fields
// of the label highlight each other.

import { around, find } from "../site/dom.js";
import { hasModifier, isTyping } from "../site/keyboard.js";

let goUntil = 0; // ms; until then a letter after "g" opens a section (site/base.js) and must not decide anything
let isSent = false;

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (target.matches("textarea") && key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    target.form?.requestSubmit();
    return;
  }
  if (hasModifier(event) || event.repeat || isTyping(target) || document.querySelector("dialog[open]")) return;
  if (key === "g") {
    goUntil = Date.now() + 1500;
  } else if (Date.now() < goUntil) {
    goUntil = 0;
  } else if (/^[1-9]$/u.test(key)) {
    if (choose(Number(key))) event.preventDefault();
  } else if (key === "j" || key === "k") {
    step(key === "j" ? 1 : -1);
  } else {
    const name = CSS.escape(key);
    const control = document.querySelector(`[data-key="${name}"]`) ?? document.querySelector(`[data-focus-key="${name}"]`);
    if (!control) return;
    event.preventDefault();
    if (control.matches("textarea")) control.focus();
    else control.click();
  }
});

document.addEventListener("click", (event) => {
  const id = event.target.closest("[data-focus]")?.dataset.focus;
  if (id) document.getElementById(id)?.focus();
});

// A second submit while the first is under way would decide nothing.
document.addEventListener("submit", (event) => {
  if (isSent) event.preventDefault();
  isSent = true;
});
window.addEventListener("pageshow", () => (isSent = false));

// -- answers --------------------------------------------------------------------------------------------------------

const questions = () => [...document.querySelectorAll("[data-question]")];

/** @param {HTMLElement} question */
const isOpen = (question) => !question.classList.contains("left-out") && !question.querySelector("input:checked");

/** Chooses an answer of the current question and goes to the next one. @param {number} number */
function choose(number) {
  const all = questions();
  const question = /** @type {HTMLElement | null | undefined} */ (document.activeElement?.closest("[data-question]")) ?? all.find(isOpen);
  const answer = question?.querySelectorAll("input[type=radio]")[number - 1];
  if (!question || !answer || answer.disabled) return false;
  answer.checked = true;
  answer.dispatchEvent(new Event("change", { bubbles: true }));
  if (answer.value === "other") {
    find(question, "[data-other]").focus();
    return true;
  }
  const next = [...all.slice(all.indexOf(question) + 1), ...all].find(isOpen);
  (next?.querySelector("input[type=radio]") ?? document.querySelector("#dispute-form [data-key=a]"))?.focus();
  return true;
}

// Typing another value chooses it.
document.addEventListener("input", ({ target }) => {
  if (target.matches("[data-other]")) find(around(target, "[data-question]"), "input[value=other]").checked = true;
});

/** What the server found was about the answer before. @param {Element} question */
function dropMessages(question) {
  question.classList.remove("has-problem");
  question.querySelector("[data-messages]")?.remove();
  question.removeAttribute("aria-describedby");
}
for (const name of /** @type {const} */ (["input", "change"])) {
  document.addEventListener(name, ({ target }) => {
    const question = target.closest("[data-question]");
    if (question) dropMessages(question);
  });
}

// The cells of a row that is left out need no answer.
function drawRows() {
  const leftOut = questions()
    .filter((question) => question.dataset.row && question.querySelector('input[value="leave out"]:checked'))
    .map((question) => question.dataset.row);
  for (const question of questions()) {
    const isLeftOut = Boolean(question.dataset.within) && leftOut.includes(question.dataset.within);
    question.classList.toggle("left-out", isLeftOut);
    if (isLeftOut) dropMessages(question);
  }
}
document.addEventListener("change", drawRows);
drawRows();

// -- text and label -------------------------------------------------------------------------------------------------

const marks = [...document.querySelectorAll("mark[data-path]")];
/** @type {HTMLElement | null} */
let current = null;

/** @param {HTMLElement} mark @returns {HTMLElement | null | undefined} */
const fieldOf = (mark) => document.getElementById(`f-${mark.dataset.path}-label`)?.closest("[data-node]");

/** @param {HTMLElement} mark @param {boolean} on */
function highlight(mark, on) {
  mark.classList.toggle("strong", on);
  fieldOf(mark)?.classList.toggle("strong", on);
}

/** @param {HTMLElement} mark */
function show(mark) {
  if (current) highlight(current, false);
  current = mark;
  highlight(mark, true);
  mark.scrollIntoView({ block: "nearest" });
  fieldOf(mark)?.scrollIntoView({ block: "nearest" });
}

/** @param {1 | -1} by */
function step(by) {
  if (!marks.length) return;
  const at = marks.findIndex((mark) => mark === current);
  const first = by > 0 ? 0 : marks.length - 1;
  show(marks[at < 0 ? first : (at + by + marks.length) % marks.length]);
}

for (const mark of marks) {
  const field = fieldOf(mark);
  for (const element of [mark, field]) {
    element?.addEventListener("pointerenter", () => highlight(mark, true));
    element?.addEventListener("pointerleave", () => mark !== current && highlight(mark, false));
  }
  field?.addEventListener("click", () => show(mark));
}

// -- where an answer is in the text ---------------------------------------------------------------------------------

/**
 * The range between two places of the text, counted in characters; the browser counts UTF-16 units.
 * @param {number} start @param {number} end
 */
function rangeOf(start, end) {
  const walker = document.createTreeWalker(find(document, ".document-text"), NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  let at = 0;
  for (let node = /** @type {Text | null} */ (walker.nextNode()); node; node = /** @type {Text | null} */ (walker.nextNode())) {
    const characters = [...node.data];
    const units = (/** @type {number} */ count) => characters.slice(0, count).join("").length;
    if (start >= at && start < at + characters.length) range.setStart(node, units(start - at));
    at += characters.length;
    if (end <= at) {
      range.setEnd(node, units(end - at + characters.length));
      return range;
    }
  }
  return null;
}

/** @param {HTMLElement | null} answer */
function showPlace(answer) {
  const range = answer?.dataset.start ? rangeOf(Number(answer.dataset.start), Number(answer.dataset.end)) : null;
  CSS.highlights.delete("pick");
  if (!range) return;
  CSS.highlights.set("pick", new Highlight(range));
  range.startContainer.parentElement?.closest(".review-text")?.scrollTo({
    top: range.getBoundingClientRect().top - find(document, ".document-text").getBoundingClientRect().top - 120,
  });
}

if ("Highlight" in globalThis && "highlights" in CSS) {
  for (const answer of document.querySelectorAll(".pick")) {
    answer.addEventListener("pointerenter", () => showPlace(answer));
    answer.addEventListener("focusin", () => showPlace(answer));
  }
  document.addEventListener("change", (event) => showPlace(event.target.closest(".pick")));
}

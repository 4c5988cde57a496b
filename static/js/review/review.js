// Reviewing by keys: one letter for a button or link of the page, digits for picks; the text and the label light each other up.

const typing = (element) =>
  element.isContentEditable || ["TEXTAREA", "SELECT"].includes(element.tagName) || (element.tagName === "INPUT" && !["radio", "checkbox"].includes(element.type));

let goUntil = 0; // after "g", a letter goes to a section (site/base.js) and must not decide anything
let sent = false;

document.addEventListener("keydown", (event) => {
  if (event.target.matches("textarea") && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    event.target.form.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "g") {
    goUntil = Date.now() + 1500;
    return;
  }
  if (Date.now() < goUntil) {
    goUntil = 0;
    return;
  }
  if (/^[1-9]$/u.test(event.key)) {
    if (pick(Number(event.key))) event.preventDefault();
    return;
  }
  if (event.key === "j" || event.key === "k") {
    step(event.key === "j" ? 1 : -1);
    return;
  }
  const button = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`) ?? document.querySelector(`[data-focus-key="${CSS.escape(event.key)}"]`);
  if (!button) return;
  event.preventDefault();
  if (button.matches("textarea")) button.focus();
  else button.click();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-focus]");
  if (button) document.getElementById(button.dataset.focus)?.focus();
});

// A second press while the first decision is under way would decide about nothing.
document.addEventListener("submit", (event) => {
  if (sent) event.preventDefault();
  sent = true;
});
window.addEventListener("pageshow", () => (sent = false));

// -- picks ----------------------------------------------------------------------------------------------------------

const questions = () => [...document.querySelectorAll("[data-question]")];
const isOpen = (question) => !question.classList.contains("left-out") && !question.querySelector("input:checked");

function pick(number) {
  const all = questions();
  const question = document.activeElement.closest?.("[data-question]") ?? all.find(isOpen);
  const choice = question?.querySelectorAll("input[type=radio]")[number - 1];
  if (!choice || choice.disabled) return false;
  choice.checked = true;
  choice.dispatchEvent(new Event("change", { bubbles: true }));
  if (choice.value === "other") {
    question.querySelector("[data-other]").focus();
    return true;
  }
  const next = [...all.slice(all.indexOf(question) + 1), ...all].find(isOpen);
  (next?.querySelector("input[type=radio]") ?? document.querySelector("#dispute-form [data-key=a]"))?.focus();
  return true;
}

// Typing another value picks it.
document.addEventListener("input", (event) => {
  if (!event.target.matches("[data-other]")) return;
  event.target.closest("[data-question]").querySelector("input[value=other]").checked = true;
});

// The cells of a row that is left out need no answer.
function drawRows() {
  const out = questions()
    .filter((question) => question.dataset.row && question.querySelector('input[value="leave out"]')?.checked)
    .map((question) => question.dataset.row);
  for (const question of questions()) {
    question.classList.toggle("left-out", Boolean(question.dataset.within) && out.includes(question.dataset.within));
  }
}
document.addEventListener("change", drawRows);
drawRows();

// -- text and label -------------------------------------------------------------------------------------------------

const marks = [...document.querySelectorAll("mark[data-path]")];
const fieldOf = (path) => document.getElementById(`f-${path}-label`)?.closest("[data-node]");
const light = (mark, on) => {
  mark.classList.toggle("strong", on);
  fieldOf(mark.dataset.path)?.classList.toggle("strong", on);
};
let here = null;

function show(mark) {
  if (here) light(here, false);
  here = mark;
  light(mark, true);
  mark.scrollIntoView({ block: "nearest" });
  fieldOf(mark.dataset.path)?.scrollIntoView({ block: "nearest" });
}

function step(by) {
  if (!marks.length) return;
  const at = marks.indexOf(here);
  show(marks[at < 0 ? (by > 0 ? 0 : marks.length - 1) : (at + by + marks.length) % marks.length]);
}

for (const mark of marks) {
  mark.addEventListener("pointerenter", () => light(mark, true));
  mark.addEventListener("pointerleave", () => mark !== here && light(mark, false));
  const field = fieldOf(mark.dataset.path);
  field?.addEventListener("pointerenter", () => light(mark, true));
  field?.addEventListener("pointerleave", () => mark !== here && light(mark, false));
  field?.addEventListener("click", () => show(mark));
}

// -- where a pick stands in the text --------------------------------------------------------------------------------

// Places are counted in characters, the browser counts UTF-16 units.
function rangeOf(start, end) {
  const walker = document.createTreeWalker(document.querySelector(".document-text"), NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  let at = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const characters = [...node.data];
    const units = (count) => characters.slice(0, count).join("").length;
    if (start >= at && start < at + characters.length) range.setStart(node, units(start - at));
    at += characters.length;
    if (end <= at) {
      range.setEnd(node, units(end - at + characters.length));
      return range;
    }
  }
  return null;
}

function showPlace(choice) {
  const range = choice?.dataset.start ? rangeOf(Number(choice.dataset.start), Number(choice.dataset.end)) : null;
  CSS.highlights.delete("pick");
  if (!range) return;
  CSS.highlights.set("pick", new Highlight(range));
  range.startContainer.parentElement.closest(".review-text")?.scrollTo({
    top: range.getBoundingClientRect().top - document.querySelector(".document-text").getBoundingClientRect().top - 120,
  });
}

if (globalThis.Highlight && CSS.highlights) {
  for (const choice of document.querySelectorAll(".pick")) {
    choice.addEventListener("pointerenter", () => showPlace(choice));
    choice.addEventListener("focusin", () => showPlace(choice));
  }
  document.addEventListener("change", (event) => showPlace(event.target.closest(".pick")));
}

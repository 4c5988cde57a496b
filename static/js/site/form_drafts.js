// Keeps the input of a form until it is saved, for this tab and user, and restores it after an interrupted session: by
// itself where the form was being sent, else on request.

import { make } from "./dom.js";
import { formatClock } from "./format.js";

/**
 * @typedef {boolean | string | string[]} Value of one control
 * @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control
 * @typedef {object} Draft
 * @property {string | undefined} user
 * @property {string} path of the page
 * @property {number} at ms since the epoch
 * @property {Record<string, Value>} values by the key of a control
 * @property {boolean} [sent] the form was submitted; whether the server has it is unknown
 * @property {boolean} [interrupted] the session ended before the server had it
 */

const PREFIX = "form-draft:";
const MAX_LENGTH = 1_000_000; // characters of one draft
const { user } = document.body.dataset;
const path = location.pathname;
const isLogin = !user;
const [navigation] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
const wentBack = navigation?.type === "back_forward";
const SKIPPED = new Set(["password", "file", "submit", "button", "image", "reset"]);
const FORMS = "form[method=post]";

/** @param {string} key @returns {Draft | null} */
const read = (key) => JSON.parse(sessionStorage.getItem(key) ?? "null");

/** @returns {[string, Draft][]} */
const drafts = () =>
  Object.keys(sessionStorage)
    .filter((key) => key.startsWith(PREFIX))
    .map((key) => [key, /** @type {Draft} */ (read(key))]);

/** @param {string} key */
const discard = (key) => sessionStorage.removeItem(key);

/** @param {string} key @param {Draft} draft */
function write(key, draft) {
  const text = JSON.stringify(draft);
  try {
    if (text.length <= MAX_LENGTH) sessionStorage.setItem(key, text);
  } catch {
    // The storage is full: the form works without a draft.
  }
}

/**
 * Forms that can lose input: those that send something, except one-button forms and those that opt out.
 * @param {HTMLFormElement} form
 */
const isKept = (form) =>
  !isLogin && form.matches("#main form[method=post]:not([data-forget])") && controlsOf(form).some((control) => control.type !== "hidden");

/** @param {HTMLFormElement} form @returns {Control[]} */
function controlsOf(form) {
  return /** @type {Control[]} */ ([...form.elements]).filter(
    (control) =>
      control.name && control.name !== "csrfmiddlewaretoken" && !SKIPPED.has(control.type) && !["FIELDSET", "OBJECT"].includes(control.tagName),
  );
}

/** @param {Control} control @returns {Value} */
function valueOf(control) {
  if (control.matches("input") && ["checkbox", "radio"].includes(control.type)) return control.checked;
  return control.matches("select") && control.multiple ? [...control.selectedOptions].map((option) => option.value) : control.value;
}

/**
 * The controls of a form with their keys and values. Names repeat, so a key is a name and its position.
 * @param {HTMLFormElement} form
 */
function entriesOf(form) {
  /** @type {Record<string, number>} */
  const seen = {};
  return controlsOf(form).map((control) => {
    const name = control.type === "radio" ? `${control.name}=${control.value}` : control.name;
    seen[name] = (seen[name] ?? -1) + 1;
    return { key: `${name}#${seen[name]}`, value: valueOf(control), control };
  });
}

/** @param {Value | undefined} one @param {Value} other */
const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** @param {HTMLFormElement} form */
function keyOf(form) {
  const action = new URL(form.getAttribute("action") || location.href, location.href).pathname;
  const alike = [...document.querySelectorAll(FORMS)].filter((other) => other.getAttribute("action") === form.getAttribute("action"));
  return `${PREFIX}${user}:${path}:${form.id || action}:${alike.indexOf(form)}`;
}

/** @param {HTMLFormElement} form */
function save(form, sent = false) {
  const values = Object.fromEntries(entriesOf(form).map(({ key, value }) => [key, value]));
  write(keyOf(form), { user, path, at: Date.now(), values, sent });
}

/** @param {HTMLFormElement} form @param {Draft["values"]} values */
function differs(form, values) {
  return entriesOf(form).some(({ key, value, control }) => control.type !== "hidden" && key in values && !isSame(values[key], value));
}

/**
 * Fills the controls that are not in `filled` yet, and adds them to it.
 * @param {HTMLFormElement} form @param {Draft["values"]} values @param {WeakSet<Control>} filled
 */
function fill(form, values, filled) {
  for (const { key, value, control } of entriesOf(form)) {
    if (filled.has(control)) continue;
    filled.add(control);
    const draft = values[key];
    if (draft === undefined || isSame(draft, value)) continue;
    if (typeof draft === "boolean") /** @type {HTMLInputElement} */ (control).checked = draft;
    else if (typeof draft === "string") control.value = draft;
    else for (const option of /** @type {HTMLSelectElement} */ (control).options) option.selected = draft.includes(option.value);
    if (control.type !== "hidden") {
      control.dispatchEvent(new Event("input", { bubbles: true }));
      control.dispatchEvent(new Event("change", { bubbles: true }));
    }
  }
}

/** @param {EventTarget | null} target @returns {HTMLFormElement | null} */
function formOf(target) {
  const element = /** @type {Control | null} */ (target);
  return element?.form ?? element?.closest?.("form") ?? null;
}

/**
 * Fills a form, and fields that a choice brings in from the server once they are there, until the user continues.
 * @param {string} key @param {HTMLFormElement} form @param {Draft["values"]} values
 */
function restore(key, form, values) {
  /** @type {WeakSet<Control>} */
  const filled = new WeakSet();
  const ended = new AbortController();
  const { signal } = ended;
  const again = () => {
    const now = [...document.querySelectorAll(FORMS)].find((other) => isKept(other) && keyOf(other) === key);
    if (now) fill(now, values, filled);
  };
  fill(form, values, filled);
  document.addEventListener("htmx:afterSettle", again, { signal });
  for (const name of /** @type {const} */ (["input", "change"])) {
    document.addEventListener(name, (event) => {
      const changed = /** @type {Partial<Control>} */ (event.target).form;
      if (event.isTrusted && changed && isKept(changed) && keyOf(changed) === key) ended.abort();
    }, { signal, capture: true });
  }
  setTimeout(() => ended.abort(), 3000);
  save(form);
}

/** @param {string} text @param {"info" | "warning"} tone @param {[string, () => void][]} actions */
function showBanner(text, tone, actions) {
  const box = make("div", { className: `alert alert-${tone} form-draft` });
  box.setAttribute("role", "status");
  box.append(text);
  for (const [title, act] of actions) {
    const button = make("button", { type: "button", className: "btn btn-sm btn-outline-secondary ms-2", textContent: title });
    button.addEventListener("click", () => {
      act();
      box.remove();
    });
    box.append(button);
  }
  document.getElementById("messages")?.append(box);
}

/** @param {string} key @param {Draft} draft @param {HTMLFormElement} form */
function offer(key, { values, interrupted: wasInterrupted, at }, form) {
  if (!differs(form, values)) {
    discard(key);
  } else if (wasInterrupted) {
    restore(key, form, values);
    showBanner("Your session expired. Your input was restored but is not saved yet.", "warning", [
      ["Discard", () => { discard(key); location.reload(); }],
    ]);
  } else {
    const time = formatClock(new Date(at));
    showBanner(`Your unsaved input from ${time} can be restored.`, "info", [
      ["Restore", () => restore(key, form, values)],
      ["Discard", () => discard(key)],
    ]);
  }
}

/** @param {string} key @param {Draft} draft */
const markInterrupted = (key, draft) => write(key, { ...draft, sent: false, interrupted: true });

function start() {
  for (const [key, draft] of drafts()) {
    if (isLogin) {
      if (draft.sent) markInterrupted(key, draft);
    } else if (draft.user !== user || (draft.sent && !(wentBack && draft.path === path))) {
      discard(key); // another user's, or it reached the server
    }
  }
  if (isLogin) return;
  for (const form of document.querySelectorAll(FORMS)) {
    const draft = isKept(form) ? read(keyOf(form)) : null;
    if (draft) offer(keyOf(form), draft, form);
  }
}

for (const name of /** @type {const} */ (["input", "change"])) {
  document.addEventListener(name, (event) => {
    const form = formOf(event.target);
    if (event.isTrusted && form && isKept(form) && controlsOf(form).some((control) => control === event.target)) save(form);
  });
}
// A script changed a control for the user, who typed somewhere else.
document.addEventListener("draft:change", (event) => {
  const form = formOf(event.target);
  if (form && isKept(form)) save(form);
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form")) return;
  if (form.matches('[action$="/logout/"]')) for (const [key] of drafts()) discard(key);
  else if (isKept(form)) save(form, true);
});
document.addEventListener("htmx:afterRequest", (event) => {
  const { elt, successful, requestConfig } = event.detail;
  const form = event.target.closest?.("form") ?? elt?.closest?.("form");
  if (form && isKept(form) && elt === form && successful && requestConfig.verb !== "get") discard(keyOf(form));
});

/** The session ended while the page was open: its drafts are restored after the login. */
export function interrupted() {
  for (const [key, draft] of drafts()) if (draft.path === path) markInterrupted(key, draft);
}

start();

// Keys pressed while the next document is being opened go into that document: they are kept, and pressed again once it is
// open.

/** @typedef {Pick<KeyboardEvent, "key" | "code" | "shiftKey">} Key */

const KEPT = new Set(["Backspace", "Delete", "Tab", "Enter", "End", "Home", "Escape", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]);
const TABBABLE = "a[href], button, input, select, textarea, [tabindex]";

/** @param {Element} element @returns {element is HTMLInputElement | HTMLTextAreaElement} */
const isText = (element) => element.matches("textarea") || (element.matches("input") && element.type === "text");

export class KeyBuffer {
  /** The keys that were pressed; null while nothing is being opened. @type {Key[] | null} */
  #keys = null;

  constructor() {
    document.addEventListener("keydown", (event) => this.#keep(event), { capture: true });
  }

  start() {
    this.#keys = [];
  }

  /** @param {KeyboardEvent} event */
  #keep(event) {
    if (this.#keys === null || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.key.length !== 1 && !KEPT.has(event.key)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const { key, code, shiftKey } = event;
    this.#keys.push({ key, code, shiftKey });
  }

  /**
   * Presses the kept keys in what is open now, or drops them.
   * @param {{ press: boolean }} options
   * @returns {number} how many there were
   */
  finish({ press: presses }) {
    const keys = this.#keys ?? [];
    this.#keys = null;
    if (presses) for (const key of keys) press(key);
    return keys.length;
  }
}

/** @param {Key} pressed */
function press({ key, code, shiftKey }) {
  const element = /** @type {HTMLElement} */ (document.activeElement);
  const event = new KeyboardEvent("keydown", { key, code, shiftKey, bubbles: true, cancelable: true });
  if (!element.dispatchEvent(event)) return;
  if (key === "Tab") tab(element, shiftKey);
  else if (isText(element)) type(element, key);
  else if (key === " " || key === "Enter") element.click();
}

/** @param {HTMLInputElement | HTMLTextAreaElement} element @param {string} key */
function type(element, key) {
  if (key === "Backspace") document.execCommand("delete");
  else if (key === "Delete") document.execCommand("forwardDelete");
  else if (key.length === 1) document.execCommand("insertText", false, key);
  else if (key === "Enter" && element.tagName === "TEXTAREA") document.execCommand("insertText", false, "\n");
  else if (key === "Home") element.setSelectionRange(0, 0);
  else if (key === "End") element.setSelectionRange(element.value.length, element.value.length);
}

/**
 * Moves the focus as the browser does with Tab: of radio buttons to the checked one.
 * @param {HTMLElement} from @param {boolean} back
 */
function tab(from, back) {
  const isRadio = (/** @type {HTMLElement} */ element) => element.matches("input") && element.type === "radio";
  const nameOf = (/** @type {HTMLElement} */ element) => /** @type {HTMLInputElement} */ (element).name;
  /** @param {HTMLElement} element */
  const isStop = (element) => {
    if (element.tabIndex < 0 || /** @type {HTMLInputElement} */ (element).disabled || !element.checkVisibility()) return false;
    if (!isRadio(element)) return true;
    if (isRadio(from) && nameOf(from) === nameOf(element)) return false;
    const name = CSS.escape(nameOf(element));
    return /** @type {HTMLInputElement} */ (element).checked || !document.querySelector(`input[name="${name}"]:checked`);
  };
  const stops = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(TABBABLE)]).filter((element) => element === from || isStop(element));
  const target = stops[stops.indexOf(from) + (back ? -1 : 1)];
  target?.focus();
  if (target && isText(target)) target.select();
}

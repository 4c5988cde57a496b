// The strip above a grid with the columns that were found in lines of the document: a select for each says which field it
// became. It is gone once rows are added or removed.

/** @import { Reading, ReadColumn, TableField, Target } from "./tables/table_lines.js" */

import { keyCap } from "./chords.js";
import { childOf } from "./nodes.js";
import { JOIN } from "./tables/table_lines.js";
import { make } from "../site/dom.js";

const SAMPLES = 2;

export class ColumnStrip {
  /** @type {MutationObserver | null} */
  #observer = null;
  /** @type {HTMLSelectElement[]} */
  #selects = [];

  /** @param {{ chosen: (targets: Target[]) => void, closed: () => void, key: () => string }} options `key` leads to the strip */
  constructor({ chosen, closed, key }) {
    this.chosen = chosen;
    this.key = key;
    this.box = make("div", { className: "sf-columns", hidden: true });
    this.box.setAttribute("role", "group");
    this.box.setAttribute("aria-label", "Columns of the selected lines");
    this.close = () => {
      this.hide();
      closed();
    };
    this.box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
  }

  /** @param {Element} grid @param {Reading} reading @param {TableField[]} fields @param {boolean} isKept as the user set them for another document */
  show(grid, { columns, targets }, fields, isKept) {
    this.#selects = columns.map((column, index) => selectOf(column, index, fields));
    this.#selects.forEach((select, index) => {
      select.value = targets[index] ?? "";
      select.dataset.target = select.value;
      select.addEventListener("change", () => this.#choose(select));
    });
    const close = make("button", { type: "button", className: "sf-row-icon", title: "Hide", ariaLabel: "Hide the columns" });
    close.append(make("i", { className: "bi bi-x-lg", ariaHidden: "true" }));
    close.addEventListener("click", this.close);
    const title = make("span", { className: "sf-columns-title" });
    title.append(isKept ? "Columns (as last set) " : "Columns ", keyCap(this.key()));
    this.box.replaceChildren(title, ...this.#selects.map((select, index) => columnOf(columns[index], select)), close);
    grid.insertBefore(this.box, childOf(grid, ".sf-grid-wrap") ?? null);
    this.box.hidden = false;
  }

  /** Hides the strip when the number of rows changes. @param {Element} body @param {number} count @param {() => void} changed */
  watch(body, count, changed) {
    this.#observer?.disconnect();
    this.#observer = new MutationObserver(() => body.children.length !== count && changed());
    this.#observer.observe(body, { childList: true });
  }

  hide() {
    this.#observer?.disconnect();
    this.#observer = null;
    this.box.hidden = true;
    this.box.remove();
  }

  /** A field is one column: the column that had it gets what this one had. @param {HTMLSelectElement} select */
  #choose(select) {
    const before = select.dataset.target ?? "";
    const other = this.#selects.find((one) => one !== select && select.value && select.value !== JOIN && one.value === select.value);
    if (other) other.value = before === JOIN ? "" : before;
    for (const one of this.#selects) one.dataset.target = one.value;
    this.chosen(this.#selects.map(({ value }) => value || null));
  }
}

/** @param {ReadColumn} column @param {number} index @param {TableField[]} fields @returns {HTMLSelectElement} */
function selectOf(column, index, fields) {
  const select = /** @type {HTMLSelectElement} */ (make("select", { className: "sf-columns-field" }));
  const options = [["", "Not used"], ...fields.map(({ key, title }) => [key, title]), ...(index ? [[JOIN, "Join with the previous column"]] : [])];
  select.append(...options.map(([value, textContent]) => make("option", { value, textContent })));
  select.setAttribute("aria-label", `Column ${index + 1}, ${sampleOf(column)}`);
  return select;
}

/** @param {ReadColumn} column @param {HTMLSelectElement} select */
function columnOf(column, select) {
  const box = make("label", { className: "sf-columns-column" });
  box.append(make("span", { className: "sf-columns-sample", dir: "auto", textContent: sampleOf(column) }), select);
  return box;
}

/** @param {ReadColumn} column */
function sampleOf({ head, cells }) {
  return head || cells.flatMap((cell) => (cell ? [cell.text] : [])).slice(0, SAMPLES).join(", ");
}

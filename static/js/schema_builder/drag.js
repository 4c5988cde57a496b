// Drag and drop of fields: before, behind or into the field under the pointer.

/** @import { Builder } from "./builder.js" */
/** @import { Row } from "./row_model.js" */

import { indexOf } from "./changes.js";
import { propertiesOf } from "./fields.js";

const MARKS = ["drop-before", "drop-behind", "drop-inside"];

/** @param {Builder} builder */
export function watchDrag(builder) {
  const { root } = builder;
  /** @type {Row | null} */
  let dragged = null;

  const clear = () => {
    for (const line of root.querySelectorAll(MARKS.map((mark) => `.${mark}`).join(", "))) line.classList.remove(...MARKS);
  };

  root.addEventListener("dragstart", (event) => {
    dragged = event.target.matches(".builder-handle") ? builder.rowOf(event.target) : null;
    if (!dragged || !event.dataTransfer) return;
    builder.flush();
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", dragged.field.name);
    const line = event.target.closest(".builder-row");
    if (line) event.dataTransfer.setDragImage(line, 0, 0);
  });
  root.addEventListener("dragover", (event) => {
    const place = dragged && dropPlace(builder, event);
    if (!place) return;
    event.preventDefault();
    clear();
    place.line.classList.add(place.mark);
  });
  root.addEventListener("drop", (event) => {
    const place = dragged && dropPlace(builder, event);
    clear();
    if (!place || !dragged) return;
    event.preventDefault();
    const { row, mark } = place;
    if (mark === "drop-inside" && row.inside) builder.moveTo(dragged, row.inside, row, propertiesOf(row.inside).size);
    else builder.moveTo(dragged, row.field.owner, row.outer, indexOf(row.field) + (mark === "drop-behind" ? 1 : 0));
    dragged = null;
  });
  root.addEventListener("dragend", () => {
    dragged = null;
    clear();
  });
}

/** @param {Builder} builder @param {DragEvent & { target: HTMLElement }} event */
function dropPlace(builder, event) {
  const row = builder.rowOf(event.target);
  const line = event.target.closest("li.builder-field")?.querySelector(".builder-row");
  if (!row || !line) return null;
  const { top, height } = line.getBoundingClientRect();
  const share = (event.clientY - top) / height;
  if (row.inside && share > 0.3 && share < 0.7) return { row, line, mark: "drop-inside" };
  return { row, line, mark: share < 0.5 ? "drop-before" : "drop-behind" };
}

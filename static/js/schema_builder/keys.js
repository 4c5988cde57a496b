// The keys of the builder. All of it works without a pointer.

/** @import { Builder } from "./builder.js" */
/** @import { Row } from "./row_model.js" */

const ROW_PARTS = ["name", "type", "required"];

/** @param {Builder} builder */
export function watchKeys(builder) {
  builder.root.addEventListener("keydown", (event) => {
    const { target } = event;
    const row = builder.rowOf(target);
    const act = (isUndo(event) && undoOf(builder, event)) || (row && (altKey(builder, event, row) ?? plainKey(builder, event, row)));
    if (act) {
      event.preventDefault();
      act();
    } else if (event.key === "Enter" && target.matches("input") && !event.isComposing) {
      event.preventDefault(); // the form is saved by its button or Ctrl+S
      builder.flush();
    }
  });
}

/** @param {KeyboardEvent} event */
const isUndo = (event) => (event.ctrlKey || event.metaKey) && !event.altKey && ["z", "y"].includes(event.key.toLowerCase());

/** Text that is not written yet is undone by the input itself. @param {Builder} builder @param {KeyboardEvent & { target: HTMLElement }} event */
function undoOf(builder, event) {
  const { target } = event;
  const isDirty = target.matches("input") ? target.type === "text" && target.value !== target.defaultValue : target.matches("textarea") && target.value !== target.defaultValue;
  if (isDirty) return null;
  return event.key.toLowerCase() === "y" || event.shiftKey ? builder.hooks.redo : builder.hooks.undo;
}

/** @param {Builder} builder @param {KeyboardEvent} event @param {Row} row @returns {(() => unknown) | undefined} */
function altKey(builder, event, row) {
  if (!event.altKey || event.ctrlKey || event.metaKey) return undefined;
  const renamed = () => {
    builder.flush();
    return row;
  };
  switch (event.key) {
    case "ArrowUp":
    case "ArrowDown":
      return () => builder.moveBy(renamed(), event.key === "ArrowUp" ? -1 : 1);
    case "ArrowRight":
      return event.shiftKey ? () => builder.nest(renamed()) : undefined;
    case "ArrowLeft":
      return event.shiftKey ? () => builder.lift(renamed()) : undefined;
    case "Enter":
      return () => builder.toggle(renamed());
    case "Delete":
    case "Backspace":
      return () => builder.remove(renamed());
    default:
      return undefined;
  }
}

/** @param {Builder} builder @param {KeyboardEvent & { target: HTMLElement }} event @param {Row} row @returns {(() => unknown) | undefined} */
function plainKey(builder, event, row) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return undefined;
  const part = event.target.dataset.part ?? "";
  if (event.key === "Enter" && ROW_PARTS.includes(part)) return () => enter(builder, row, event.target);
  if (event.key === "Escape" && !ROW_PARTS.includes(part) && builder.open.has(row.key)) {
    return () => {
      builder.toggle(row, false);
      builder.focus({ key: row.key, part: "name" });
    };
  }
  if (part === "name" && ["ArrowUp", "ArrowDown"].includes(event.key)) {
    return () => {
      const names = [...builder.root.querySelectorAll('[data-part="name"]')];
      names[names.indexOf(event.target) + (event.key === "ArrowUp" ? -1 : 1)]?.focus();
    };
  }
  return undefined;
}

/** The next field; a new one without a name leaves its group. @param {Builder} builder @param {Row} row @param {HTMLElement} target */
function enter(builder, row, target) {
  if (target.matches("input[type=text]")) {
    if (target.value === row.field.name && builder.leave(row)) return;
    target.dispatchEvent(new Event("change"));
    if (target.validationMessage) return;
  }
  if (row.type !== "choice" || !builder.open.has(row.key) || target.dataset.part === "required") builder.addAfter(row);
  else builder.render({ key: row.key, part: "values" });
}

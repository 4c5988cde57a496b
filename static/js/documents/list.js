// The list of documents: "/" searches, j and k walk the rows, Enter opens one, x ticks it; the bar for many at once.

const typing = (element) => ["TEXTAREA", "SELECT"].includes(element.tagName) || (element.tagName === "INPUT" && element.type !== "checkbox");
const rows = () => [...document.querySelectorAll("tr[data-row]")];
const ticks = () => [...document.querySelectorAll('tr[data-row] input[name="id"]')];
let lastTicked = -1;

function go(step) {
  const all = rows();
  if (!all.length) return;
  const here = all.findIndex((row) => row.classList.contains("row-here"));
  const next = here < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, here + step));
  all[here]?.classList.remove("row-here");
  all[next].classList.add("row-here");
  const link = all[next].querySelector("a");
  link.focus({ preventScroll: true });
  all[next].scrollIntoView({ block: "nearest" });
}

// Ticks one row, or with a range all rows from the last one that was ticked.
function tick(index, on, range) {
  const all = ticks();
  if (!all[index]) return;
  const from = range && lastTicked >= 0 ? Math.min(lastTicked, index) : index;
  const to = range && lastTicked >= 0 ? Math.max(lastTicked, index) : index;
  for (let at = from; at <= to && at < all.length; at += 1) all[at].checked = on;
  lastTicked = index;
  showTicked();
}

function showTicked() {
  const all = ticks();
  const count = all.filter((box) => box.checked).length;
  const words = document.querySelector("[data-ticked]");
  if (!words) return;
  words.textContent = count;
  const head = document.querySelector("[data-tick-all]");
  head.checked = count > 0 && count === all.length;
  head.indeterminate = count > 0 && count < all.length;
}

// Only the value that the chosen change needs is shown.
function showValue() {
  const select = document.querySelector("[data-bulk-action]");
  if (!select) return;
  const needs = select.selectedOptions[0]?.dataset.needs ?? "";
  for (const control of document.querySelectorAll("[data-value]")) control.hidden = control.dataset.value !== needs;
}

document.addEventListener("keydown", (event) => {
  if (typing(event.target) || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "/") {
    event.preventDefault();
    document.querySelector("[data-search]").focus();
  } else if (event.key === "j") {
    go(1);
  } else if (event.key === "k") {
    go(-1);
  } else if (event.key === "x" || event.key === "X") {
    const index = rows().findIndex((row) => row.classList.contains("row-here"));
    const box = ticks()[index];
    if (box) tick(index, !box.checked, event.shiftKey);
  }
});

document.addEventListener("focusin", (event) => {
  const row = event.target.closest?.("tr[data-row]");
  for (const other of rows()) other.classList.toggle("row-here", other === row);
});

document.addEventListener("click", (event) => {
  if (event.target.matches?.("[data-tick-all]")) {
    for (const box of ticks()) box.checked = event.target.checked;
    showTicked();
  } else if (event.target.matches?.('tr[data-row] input[name="id"]')) {
    tick(ticks().indexOf(event.target), event.target.checked, event.shiftKey);
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches?.("[data-bulk-action]")) showValue();
});

document.addEventListener("htmx:afterSettle", () => {
  lastTicked = -1;
  showTicked();
  showValue();
});
showTicked();
showValue();

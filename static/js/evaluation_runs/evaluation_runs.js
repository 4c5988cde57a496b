// Evaluation pages: choosing runs to compare, copying an address, keys over lists of outputs.

const typing = (element) =>
  element.isContentEditable ||
  ["TEXTAREA", "SELECT"].includes(element.tagName) ||
  (element.tagName === "INPUT" && !["checkbox", "radio"].includes(element.type));

// -- runs to compare: two document by document, up to eight as a matrix -----------------------------

const MOST = 8;

function ticked() {
  return [...document.querySelectorAll('input[name="runs"][form="compare"]:checked')];
}

function showChoice() {
  const button = document.querySelector("[data-compare]");
  const hint = document.querySelector("[data-compare-hint]");
  if (!button) return;
  const boxes = ticked();
  button.disabled = boxes.length < 2;
  const said = ["Tick two evaluations to compare them, or up to eight.", "Tick one more.", "Compares the earlier one with the later.", `Compares ${boxes.length} with one another.`];
  if (hint) hint.textContent = said[Math.min(boxes.length, 3)];
}

// A ninth tick takes the place of the oldest. The table is swapped while a run is live: ticks are kept by id.
let order = [];
document.addEventListener("change", (event) => {
  if (event.target.name !== "runs") return;
  order = order.filter((id) => id !== event.target.id);
  if (event.target.checked) order.push(event.target.id);
  while (order.length > MOST) {
    const oldest = document.getElementById(order.shift());
    if (oldest) oldest.checked = false;
  }
  showChoice();
});
document.addEventListener("htmx:afterSwap", () => {
  for (const id of order) {
    const box = document.getElementById(id);
    if (box) box.checked = true;
  }
  showChoice();
});
document.getElementById("compare")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const numbers = ticked().map((box) => Number(box.value)).sort((a, b) => a - b);
  if (numbers.length >= 2) location.assign(`${event.target.action}?runs=${numbers.join(",")}`);
});
showChoice();

// -- the address of a comparison, which holds its runs and filters -----------------------------------

const copy = document.querySelector("[data-copy-address]");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Copy the address";
    }
    setTimeout(() => (copy.textContent = "Copy link"), 2000);
  });
}

// -- keys -------------------------------------------------------------------------------------------

function move(step) {
  const link = document.querySelector(`[data-key="${step > 0 ? "j" : "k"}"]`);
  if (link) {
    location.assign(link.href);
    return;
  }
  const rows = [...document.querySelectorAll("[data-rows] summary")];
  if (!rows.length) return;
  const here = rows.indexOf(document.activeElement?.closest?.("details.output")?.querySelector("summary"));
  const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, here + step));
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (typing(event.target) || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "v") document.querySelector("[data-compare]:not(:disabled)")?.click();
});

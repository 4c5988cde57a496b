// The list of runs: ticks for a comparison, which survive that the list refreshes itself.
const MOST = 5;
const ticked = new Set();

function show() {
  for (const box of document.querySelectorAll("#runs [name=runs]")) {
    box.checked = ticked.has(box.value);
    box.disabled = !box.checked && ticked.size >= MOST;
  }
  const button = document.querySelector("[data-compare]");
  if (!button) return;
  button.disabled = ticked.size < 2;
  button.querySelector("[data-count]").textContent = ticked.size ? ` (${ticked.size})` : "";
}

document.addEventListener("change", (event) => {
  if (!event.target.matches("#runs [name=runs]")) return;
  if (event.target.checked) ticked.add(event.target.value);
  else ticked.delete(event.target.value);
  show();
});
// Boxes of other pages of the list go along as well.
document.getElementById("compare")?.addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(`${event.target.action}?runs=${[...ticked].map(Number).sort((a, b) => a - b).join(",")}`);
});
document.addEventListener("htmx:afterSettle", show);
// A page that comes back from the history keeps its ticks.
for (const box of document.querySelectorAll("#runs [name=runs]:checked")) ticked.add(box.value);
show();

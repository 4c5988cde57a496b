// The list of documents: "/" searches, j and k walk the rows, Enter opens one.

const typing = (element) => ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName);
const rows = () => [...document.querySelectorAll("tr[data-row]")];

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

document.addEventListener("keydown", (event) => {
  if (typing(event.target) || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "/") {
    event.preventDefault();
    document.querySelector("[data-search]").focus();
  } else if (event.key === "j") {
    go(1);
  } else if (event.key === "k") {
    go(-1);
  }
});
document.addEventListener("focusin", (event) => {
  const row = event.target.closest?.("tr[data-row]");
  for (const other of rows()) other.classList.toggle("row-here", other === row);
});

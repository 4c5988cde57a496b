// The import page: files and folders by choosing or dropping, what was chosen, and how far the upload is.

const MOST_FILES = 10_000;

const form = () => document.querySelector("[data-import-form]");
const input = () => form().querySelector('input[name="file"]');

function sizeInWords(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  if (bytes < 1024 ** 2) return `${Math.round(bytes / 1024)} KB`;
  return bytes < 1024 ** 3 ? `${(bytes / 1024 ** 2).toFixed(1)} MB` : `${(bytes / 1024 ** 3).toFixed(2)} GB`;
}

// Takes files with their places in the folder they come from.
function choose(found) {
  const transfer = new DataTransfer();
  for (const { file } of found.slice(0, MOST_FILES)) transfer.items.add(file);
  input().files = transfer.files;
  const inFolder = found.some(({ path }) => path.includes("/"));
  form().querySelector('input[name="paths"]').value = inFolder ? JSON.stringify(found.map(({ path }) => path)) : "";
  show(found.length > MOST_FILES ? `More than ${MOST_FILES.toLocaleString()} files: pack them as a zip.` : "");
}

function show(problem) {
  const files = [...input().files];
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const names = files.length === 1 ? files[0].name : `${files.length.toLocaleString()} files`;
  form().querySelector("[data-chosen]").textContent = problem || (files.length ? `${names}, ${sizeInWords(size)}` : "");
}

const readEntries = (reader) => new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
const fileOf = (entry) => new Promise((resolve, reject) => { entry.file(resolve, reject); });

// The files below a dropped folder; a browser gives them a hundred at a time.
async function below(entry, prefix, found) {
  if (found.length > MOST_FILES) return;
  if (entry.isFile) {
    found.push({ file: await fileOf(entry), path: prefix + entry.name });
    return;
  }
  const reader = entry.createReader();
  for (let part = await readEntries(reader); part.length; part = await readEntries(reader)) {
    for (const inner of part) await below(inner, `${prefix}${entry.name}/`, found);
  }
}

async function drop(event) {
  event.preventDefault();
  over(false);
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = [];
  for (const entry of entries) await below(entry, "", found);
  if (!entries.length) for (const file of event.dataTransfer.files) found.push({ file, path: file.name });
  if (found.length) choose(found);
}

function over(on) {
  document.querySelector("[data-drop-zone]")?.classList.toggle("drop-over", on);
}

function ready() {
  form()?.querySelector(".drop-script")?.removeAttribute("hidden");
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-folder]")) {
    choose([...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
    event.target.value = "";
  } else if (event.target === input()) {
    form().querySelector('input[name="paths"]').value = "";
    show("");
  }
});
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-choose-folder]")) form().querySelector("[data-folder]").click();
});
document.addEventListener("dragover", (event) => {
  if (!event.target.closest?.("[data-drop-zone]")) return;
  event.preventDefault();
  over(true);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget?.closest?.("[data-drop-zone]")) over(false);
});
document.addEventListener("drop", (event) => {
  if (event.target.closest?.("[data-drop-zone]")) drop(event);
});

// The upload itself. It starts at the click and ends on the page of the import.
document.addEventListener("htmx:xhr:progress", (event) => {
  const box = form()?.querySelector("[data-upload]");
  if (!box || !event.detail.lengthComputable) return;
  const { loaded, total } = event.detail;
  box.hidden = false;
  box.querySelector("progress").value = (100 * loaded) / total;
  box.querySelector("[data-upload-words]").textContent =
    loaded < total ? `uploading · ${sizeInWords(loaded)} of ${sizeInWords(total)}` : "stored; looking at it";
});
// A refused upload is answered with the form; the files chosen stay chosen.
let kept = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  kept = event.target.matches?.("[data-import-form]") ? input().files : null;
});
document.addEventListener("htmx:afterSettle", () => {
  if (kept?.length && form()) {
    input().files = kept;
    show("");
  }
  kept = null;
  ready();
});
ready();

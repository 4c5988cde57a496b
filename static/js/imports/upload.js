// The import page: files and folders by dialog or drag and drop, the selection, and the progress of the upload.

import { find } from "../site/dom.js";
import { formatBytes, formatNumber } from "../site/format.js";

/** @typedef {{ file: File, path: string }} Selected a file and its path in the folder it comes from */

const MAX_FILES = 10_000;

const form = () => document.querySelector("form[data-import-form]");
const input = () => find(document, '[data-import-form] input[name="file"]');
const paths = () => find(document, '[data-import-form] input[name="paths"]');

/** @param {Selected[]} selected */
function select(selected) {
  const transfer = new DataTransfer();
  for (const { file } of selected.slice(0, MAX_FILES)) transfer.items.add(file);
  input().files = transfer.files;
  const inFolder = selected.some(({ path }) => path.includes("/"));
  paths().value = inFolder ? JSON.stringify(selected.map(({ path }) => path)) : "";
  show(selected.length > MAX_FILES ? `An import can have at most ${formatNumber(MAX_FILES)} files. Put them in a zip.` : "");
}

function show(problem = "") {
  const files = [...(input().files ?? [])];
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const names = files.length === 1 ? files[0].name : `${formatNumber(files.length)} files`;
  find(document, "[data-import-form] [data-chosen]").textContent = problem || (files.length ? `${names}, ${formatBytes(size)}` : "");
  showFittingOptions();
}

/** Shows the options that fit the chosen format, or else the chosen files or the pasted text. */
function showFittingOptions() {
  const endings = [...(input().files ?? [])].map(({ name }) => name.slice(name.lastIndexOf(".")).toLowerCase());
  if (find(document, '[data-import-form] textarea[name="rows"]').value.trim()) endings.push("pasted");
  const kind = find(document, '[data-import-form] select[name="kind"]').value;
  for (const option of document.querySelectorAll("[data-import-form] [data-extensions]")) {
    const extensions = option.dataset.extensions?.split(" ") ?? [];
    option.hidden = kind ? !option.dataset.kinds?.split(" ").includes(kind) : !endings.some((ending) => extensions.includes(ending));
    find(option, "select").disabled = option.hidden;
  }
}

/** @param {FileSystemDirectoryReader} reader @returns {Promise<FileSystemEntry[]>} */
const readEntries = (reader) => new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });

/** @param {FileSystemFileEntry} entry @returns {Promise<File>} */
const fileOf = (entry) => new Promise((resolve, reject) => { entry.file(resolve, reject); });

/**
 * Adds the files below a dropped file or folder; a browser lists a hundred at a time.
 * @param {FileSystemEntry} entry @param {string} prefix @param {Selected[]} found
 * @returns {Promise<void>}
 */
async function collect(entry, prefix, found) {
  if (found.length > MAX_FILES) return;
  if (entry.isFile) {
    found.push({ file: await fileOf(/** @type {FileSystemFileEntry} */ (entry)), path: prefix + entry.name });
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (let part = await readEntries(reader); part.length; part = await readEntries(reader)) {
    for (const inner of part) await collect(inner, `${prefix}${entry.name}/`, found);
  }
}

/** @param {DataTransfer} transfer */
async function drop({ items, files }) {
  highlightDropZone(false);
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  /** @type {Selected[]} */
  const found = [];
  for (const entry of entries) await collect(entry, "", found);
  if (!entries.length) for (const file of files) found.push({ file, path: file.name });
  if (found.length) select(found);
}

/** @param {boolean} on */
function highlightDropZone(on) {
  document.querySelector("[data-drop-zone]")?.classList.toggle("drop-over", on);
}

/** What works only with scripts is shown by them. */
function enable() {
  form()?.querySelector(".drop-script")?.removeAttribute("hidden");
  if (form()) showFittingOptions();
}

document.addEventListener("change", ({ target }) => {
  if (target.matches('[data-import-form] :is([name="kind"], [name="rows"])')) showFittingOptions();
  if (!target.matches("input")) return;
  if (target.matches("[data-folder]")) {
    select([...(target.files ?? [])].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
    target.value = "";
  } else if (target === input()) {
    paths().value = "";
    show();
  }
});
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-choose-folder]")) find(document, "[data-import-form] [data-folder]").click();
});
document.addEventListener("dragover", (event) => {
  if (!event.target.closest?.("[data-drop-zone]")) return;
  event.preventDefault();
  highlightDropZone(true);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget?.closest?.("[data-drop-zone]")) highlightDropZone(false);
});
document.addEventListener("drop", (event) => {
  if (!event.target.closest?.("[data-drop-zone]") || !event.dataTransfer) return;
  event.preventDefault();
  drop(event.dataTransfer);
});

// The upload starts at the click and ends on the page of the import.
document.addEventListener("htmx:xhr:progress", ({ detail: { lengthComputable, loaded, total } }) => {
  const box = form()?.querySelector("[data-upload]");
  if (!box || !lengthComputable) return;
  box.hidden = false;
  find(box, "progress").value = (100 * loaded) / total;
  find(box, "[data-upload-words]").textContent =
    loaded < total ? `Uploading: ${formatBytes(loaded)} of ${formatBytes(total)}` : "Uploaded. Processing …";
});

/** @type {FileList | null} a rejected upload is answered with the form: its files stay selected */
let kept = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  kept = event.target.matches?.("[data-import-form]") ? input().files : null;
});
document.addEventListener("htmx:afterSettle", () => {
  if (kept?.length && form()) {
    input().files = kept;
    show();
  }
  kept = null;
  enable();
});
enable();

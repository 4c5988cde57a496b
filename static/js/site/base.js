// What every page has: theme switch, shortcut help, copy buttons, "g" navigation, focus after a swap, the end of a session.

import { $, make } from "./dom.js";
import { hasModifier } from "./keyboard.js";

// Only pages with a form to send can lose input; the labeling screen saves by itself.
let interrupted = () => {};
if (document.querySelector("#main form[method=post]")) {
  import("./form_drafts.js").then((forms) => (interrupted = forms.interrupted)).catch(() => {});
}

// On a phone the sections are one line that scrolls: the current one is in view.
const current = document.querySelector(".sidebar [aria-current]");
if (current?.parentElement) {
  const { parentElement: line } = current;
  line.scrollLeft += current.getBoundingClientRect().left - line.getBoundingClientRect().left - 40;
}

/** @param {HTMLElement} element */
const isField = (element) =>
  element.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName);

function toggleTheme() {
  const next = document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark";
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.bsTheme = next;
  // Back at the system's own choice, follow the system again.
  if (next === system) localStorage.removeItem("theme");
  else localStorage.setItem("theme", next);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
  if (!localStorage.getItem("theme")) document.documentElement.dataset.bsTheme = event.matches ? "dark" : "light";
});

function toggleShortcutHelp() {
  const dialog = $("keys");
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-theme-toggle]")) toggleTheme();
  if (event.target.closest("[data-keys-help]")) toggleShortcutHelp();
  const copying = event.target.closest("[data-copy], [data-copy-from], [data-copy-address]");
  if (copying) import("./copy_button.js").then((module) => module.copy(copying));
});

// Bootstrap's scripts are for menus and the like: they load when one is first pointed at or focused.
/** @type {Promise<unknown> | null} */
let bootstrap = null;
let isBootstrapLoaded = false;
function loadBootstrap() {
  bootstrap ??= new Promise((loaded, failed) => {
    document.head.append(make("script", { src: document.body.dataset.bootstrap, onload: loaded, onerror: failed }));
  });
  bootstrap.then(() => (isBootstrapLoaded = true)).catch(() => (bootstrap = null));
  return bootstrap;
}
/** @param {Event & Targeted} event */
const toggleOf = (event) => event.target.closest?.("[data-bs-toggle], [data-bs-dismiss]");
for (const name of /** @type {const} */ (["pointerover", "focusin"])) {
  document.addEventListener(name, (event) => toggleOf(event) && loadBootstrap().catch(() => {}));
}
document.addEventListener("click", (event) => {
  const button = toggleOf(event);
  if (!button || isBootstrapLoaded) return;
  event.preventDefault();
  loadBootstrap().then(() => button.click()).catch(() => announce("The server cannot be reached. Try again in a moment."));
});

let goUntil = 0;
document.addEventListener("keydown", (event) => {
  if (isField(event.target) || hasModifier(event)) return;
  if (event.key === "?") {
    event.preventDefault();
    toggleShortcutHelp();
  } else if (event.key === "g") {
    goUntil = Date.now() + 1500;
  } else if (Date.now() < goUntil) {
    goUntil = 0;
    const link = document.querySelector(`a[data-go="${CSS.escape(event.key)}"]`);
    if (link) location.assign(link.href);
  }
});

// A fragment that is swapped while it has the focus gives it back to the element with the same id.
/** @type {string | null} */
let focused = null;
document.addEventListener("htmx:beforeSwap", () => {
  focused = document.activeElement?.id || null;
});
document.addEventListener("htmx:afterSettle", () => {
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
});

// Fragments of a 409 or 422 carry messages and are swapped in; a lost session goes to the login page.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  const { xhr } = event.detail;
  if (new URL(xhr.responseURL, location.href).pathname === "/login/") {
    event.preventDefault();
    interrupted();
    location.assign(`/login/?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if ([409, 422].includes(event.detail.xhr.status)) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
// A fragment that refreshes itself stays as it is while someone uses it: a field, link or button of it has the focus, its
// text is selected, or something of it is open.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { elt, requestConfig } = event.detail;
  const isRefresh = elt === event.target && requestConfig.verb === "get" && event.target.matches("[data-refresh]");
  if (isRefresh && isInUse(event.target)) event.detail.shouldSwap = false;
});
/** @param {HTMLElement} part */
function isInUse(part) {
  const selection = getSelection();
  const isSelected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  return Boolean(isSelected || part.querySelector("details[open], :is(a, button, input, select, textarea, summary):focus"));
}
// A form that a choice replaces keeps what was typed while the response was on its way: it is requested again.
/** @type {WeakMap<XMLHttpRequest, string>} what forms held when they were requested */
const sent = new WeakMap();
/** @param {HTMLFormElement} form */
const contentOf = (form) => JSON.stringify([...new FormData(form)]);
document.addEventListener("htmx:beforeSend", ({ detail: { target, xhr, requestConfig } }) => {
  if (requestConfig.verb === "get" && target instanceof HTMLFormElement) sent.set(xhr, contentOf(target));
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr, requestConfig } = event.detail;
  const before = sent.get(xhr);
  if (before === undefined || !(target instanceof HTMLFormElement) || before === contentOf(target)) return;
  event.detail.shouldSwap = false;
  requestConfig.triggeringEvent?.target?.dispatchEvent(new Event("change", { bubbles: true }));
});
// htmx logs a request that ends because its page is left, or a newer one replaces it, as two errors. The second event of
// a request that failed still has its error.
if (window.htmx) {
  window.htmx.logger = (_, name, detail) => {
    if (["htmx:afterRequest", "htmx:sendAbort"].includes(name)) delete detail.error;
  };
}
document.addEventListener("htmx:sendError", () => announce("The server cannot be reached. Retrying."));
document.addEventListener("htmx:responseError", (event) => {
  announce(`The server answered with ${event.detail.xhr.status}. Nothing was lost. Try again or reload the page.`);
});

/** Shows a message for eight seconds. @param {string} text @param {"danger" | "info" | "success" | "warning"} tone */
export function announce(text, tone = "danger") {
  const box = document.getElementById("messages");
  if (!box || [...box.children].some((child) => child.textContent === text)) return;
  const alert = document.createElement("div");
  alert.className = `alert alert-${tone}`;
  alert.setAttribute("role", "status");
  alert.textContent = text;
  box.append(alert);
  setTimeout(() => alert.remove(), 8000);
}

/**
 * Draws bars from data-width and data-left, in percent: the policy of the pages allows no inline style.
 * @param {ParentNode} root
 */
function drawBars(root) {
  for (const bar of root.querySelectorAll("[data-width]")) bar.style.width = `${bar.dataset.width}%`;
  for (const bar of root.querySelectorAll("[data-left]")) bar.style.left = `${bar.dataset.left}%`;
}
drawBars(document);
document.addEventListener("htmx:afterSettle", (event) => drawBars(event.target));

// The server shows times and counts days in the viewer's time zone.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const isSecure = location.protocol === "https:";
const entry = `${isSecure ? "__Host-" : ""}zone=${zone}`;
if (zone && !document.cookie.split("; ").includes(entry)) {
  document.cookie = `${entry}; path=/; max-age=31536000; samesite=lax${isSecure ? "; secure" : ""}`;
}

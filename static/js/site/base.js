// What every page has: theme switch, the keys dialog, "g" then a letter, focus after a swap, the session's end.

// Only pages with a form that is sent can lose what is typed; the labeling screen saves by itself.
let interrupted = () => {};
if (document.querySelector("#main form[method=post]")) {
  import("./form_drafts.js").then((forms) => (interrupted = forms.interrupted)).catch(() => {});
}

const typing = (element) =>
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

function toggleKeys() {
  const dialog = document.getElementById("keys");
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-theme-toggle]")) toggleTheme();
  if (event.target.closest("[data-keys-help]")) toggleKeys();
  const copy = event.target.closest("[data-copy]");
  if (copy) navigator.clipboard?.writeText(copy.dataset.copy);
});

// Bootstrap's scripts are for menus and the like: they come when somebody first goes to one, not with every page.
let bootstrap = null;
const loadBootstrap = () => {
  bootstrap ??= new Promise((loaded, failed) => {
    const script = Object.assign(document.createElement("script"), { src: document.body.dataset.bootstrap, onload: loaded, onerror: failed });
    document.head.append(script);
  });
  bootstrap.then(() => (bootstrap.isThere = true)).catch(() => (bootstrap = null));
  return bootstrap;
};
const fromBootstrap = (event) => event.target.closest?.("[data-bs-toggle], [data-bs-dismiss]");
for (const name of ["pointerover", "focusin"]) document.addEventListener(name, (event) => fromBootstrap(event) && loadBootstrap().catch(() => {}));
document.addEventListener("click", (event) => {
  const button = fromBootstrap(event);
  if (!button || bootstrap?.isThere) return;
  event.preventDefault();
  loadBootstrap().then(() => button.click()).catch(() => announce("The server cannot be reached. Try again in a moment."));
});

let goUntil = 0;
document.addEventListener("keydown", (event) => {
  if (typing(event.target) || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "?") {
    event.preventDefault();
    toggleKeys();
  } else if (event.key === "g") {
    goUntil = Date.now() + 1500;
  } else if (Date.now() < goUntil) {
    goUntil = 0;
    const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) location.assign(link.href);
  }
});

// A fragment that is swapped while it holds the focus gives it back to the element with the same id.
let focused = null;
document.addEventListener("htmx:beforeSwap", () => {
  focused = document.activeElement?.id || null;
});
document.addEventListener("htmx:afterSettle", () => {
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus();
});

// 4xx fragments with messages are shown where they belong; a lost session goes to the login page.
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
document.addEventListener("htmx:sendError", () => announce("The server cannot be reached. It is tried again."));
document.addEventListener("htmx:responseError", (event) => {
  announce(`The server answered with ${event.detail.xhr.status}. Nothing was lost; try again or reload the page.`);
});

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

// Bars drawn from data, without inline style: <meter>-like elements with data-width in per cent.
export function widths(root) {
  for (const bar of root.querySelectorAll("[data-width]")) bar.style.width = `${bar.dataset.width}%`;
  for (const bar of root.querySelectorAll("[data-left]")) bar.style.left = `${bar.dataset.left}%`;
}
widths(document);
document.addEventListener("htmx:afterSettle", (event) => widths(event.target));

// The server shows times, and counts days, in the zone of whoever looks.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.split("; ").includes(`zone=${zone}`)) {
  document.cookie = `zone=${zone}; path=/; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
}

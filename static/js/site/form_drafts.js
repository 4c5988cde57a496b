// Keeps what is typed into a form until it is saved, for this tab and this person, and brings it back where the session
// ended before: by itself where the form was on its way, else where the person wants it.

const PREFIX = "kept-form:";
const MOST = 1_000_000;
const user = document.body.dataset.user;
const path = location.pathname;
const isLogin = !user;
const wentBack = performance.getEntriesByType("navigation")[0]?.type === "back_forward";
const SKIPPED = new Set(["password", "file", "submit", "button", "image", "reset"]);

const entries = () =>
  Object.keys(sessionStorage)
    .filter((key) => key.startsWith(PREFIX))
    .map((key) => [key, JSON.parse(sessionStorage.getItem(key))]);

const forget = (key) => sessionStorage.removeItem(key);
const write = (key, entry) => {
  const text = JSON.stringify(entry);
  try {
    if (text.length <= MOST) sessionStorage.setItem(key, text);
  } catch {
    // The storage is full: the form works as it would without this.
  }
};

// The forms that a page can lose: those that send something, but for one-button forms and what says otherwise.
const isKept = (form) => !isLogin && form.matches("#main form[method=post]:not([data-forget])") && controls(form).some((one) => one.type !== "hidden");

function controls(form) {
  return [...form.elements].filter((one) => one.name && one.name !== "csrfmiddlewaretoken" && !SKIPPED.has(one.type) && one.tagName !== "FIELDSET" && one.tagName !== "OBJECT");
}

const valueOf = (one) => {
  if (one.type === "checkbox" || one.type === "radio") return one.checked;
  return one.multiple ? [...one.selectedOptions].map((option) => option.value) : one.value;
};
// Names repeat (a list of checkboxes, rows), so that a control is known by its name and its place among those.
function read(form) {
  const seen = {};
  return controls(form).map((one) => {
    const name = one.type === "radio" ? `${one.name}=${one.value}` : one.name;
    seen[name] = (seen[name] ?? -1) + 1;
    return [`${name}#${seen[name]}`, valueOf(one), one];
  });
}
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function keyOf(form) {
  const action = new URL(form.getAttribute("action") || location.href, location.href).pathname;
  const alike = [...document.querySelectorAll("form[method=post]")].filter((other) => other.getAttribute("action") === form.getAttribute("action"));
  return `${PREFIX}${user}:${path}:${form.id || action}:${alike.indexOf(form)}`;
}

function keep(form, more = {}) {
  const values = Object.fromEntries(read(form).map(([name, value]) => [name, value]));
  write(keyOf(form), { user, path, at: Date.now(), values, ...more });
}

function differs(form, values) {
  return read(form).some(([name, value, one]) => one.type !== "hidden" && name in values && !same(values[name], value));
}

// Fills the controls that are not in `filled` yet, and adds them to it.
function fill(form, values, filled) {
  for (const [name, value, one] of read(form)) {
    if (filled.has(one)) continue;
    filled.add(one);
    const kept = values[name];
    if (kept === undefined || same(kept, value)) continue;
    if (one.type === "checkbox" || one.type === "radio") one.checked = kept;
    else if (one.multiple) for (const option of one.options) option.selected = kept.includes(option.value);
    else one.value = kept;
    if (one.type !== "hidden") {
      one.dispatchEvent(new Event("input", { bubbles: true }));
      one.dispatchEvent(new Event("change", { bubbles: true }));
    }
  }
}

// What a choice brings in from the server (other fields) is filled as well once it is there, until the person goes on.
function restore(key, form, values) {
  const filled = new WeakSet();
  const ended = new AbortController();
  const { signal } = ended;
  const again = () => {
    const now = [...document.querySelectorAll("form[method=post]")].find((other) => isKept(other) && keyOf(other) === key);
    if (now) fill(now, values, filled);
  };
  const stop = (event) => {
    const { form: own } = event.target;
    if (event.isTrusted && own && isKept(own) && keyOf(own) === key) ended.abort();
  };
  fill(form, values, filled);
  document.addEventListener("htmx:afterSettle", again, { signal });
  for (const name of ["input", "change"]) document.addEventListener(name, stop, { signal, capture: true });
  setTimeout(() => ended.abort(), 3000);
  keep(form);
}

function banner(words, tone, actions) {
  const box = document.createElement("div");
  box.className = `alert alert-${tone} kept-form`;
  box.setAttribute("role", "status");
  box.append(words);
  for (const [title, act] of actions) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "btn btn-sm btn-outline-secondary ms-2", textContent: title });
    button.addEventListener("click", () => {
      act();
      box.remove();
    });
    box.append(button);
  }
  document.getElementById("messages")?.append(box);
}

function offer(key, entry, form) {
  const { values } = entry;
  if (!differs(form, values)) return forget(key);
  const discard = ["Discard it", () => { forget(key); location.reload(); }];
  if (entry.interrupted) {
    restore(key, form, values);
    banner("Your session had ended. What you typed is back in the form; it is not saved yet.", "warning", [discard]);
    return undefined;
  }
  const at = new Date(entry.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  banner(`What you typed into this form at ${at} can be restored.`, "info", [
    ["Restore it", () => restore(key, form, values)],
    ["Discard it", () => forget(key)],
  ]);
  return undefined;
}

function arrive() {
  for (const [key, entry] of entries()) {
    if (isLogin) {
      if (entry.sent) write(key, { ...entry, sent: false, interrupted: true });
    } else if (entry.user !== user || (entry.sent && !(wentBack && entry.path === path))) {
      forget(key); // another person's, or it reached the server
    }
  }
  if (isLogin) return;
  for (const form of document.querySelectorAll("form[method=post]")) {
    if (!isKept(form)) continue;
    const key = keyOf(form);
    const text = sessionStorage.getItem(key);
    if (text) offer(key, JSON.parse(text), form);
  }
}

const kept = (event) => {
  const form = event.target.form ?? event.target.closest?.("form");
  if (event.isTrusted && form && isKept(form) && controls(form).includes(event.target)) keep(form);
};
for (const name of ["input", "change"]) document.addEventListener(name, kept);
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches('form[action$="/logout/"]')) for (const [key] of entries()) forget(key);
  else if (isKept(form)) keep(form, { sent: true });
});
document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.target.closest?.("form") ?? event.detail.elt?.closest?.("form");
  const { successful, requestConfig } = event.detail;
  if (form && isKept(form) && event.detail.elt === form && successful && requestConfig.verb !== "get") forget(keyOf(form));
});

// The session was lost while a page was open: everything that is kept of it comes back by itself.
export function interrupted() {
  for (const [key, entry] of entries()) if (entry.path === path) write(key, { ...entry, sent: false, interrupted: true });
}

arrive();

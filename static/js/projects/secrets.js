// A token or secret is shown once: it gets the focus.

document.addEventListener("htmx:afterSettle", () => document.getElementById("made-title")?.focus());

// A token or secret is shown once: it gets the focus and can be copied.

import "../site/copy_buttons.js";

document.addEventListener("htmx:afterSettle", () => document.getElementById("made-title")?.focus());

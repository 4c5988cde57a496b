// Printing a page: light colors, and every section open. Afterwards the page is as it was.

const root = document.documentElement;
/** @type {string | undefined} */
let theme;
/** @type {HTMLDetailsElement[]} */
let opened = [];

addEventListener("beforeprint", () => {
  theme = root.dataset.bsTheme;
  root.dataset.bsTheme = "light";
  opened = [...document.querySelectorAll("main details:not([open])")];
  for (const details of opened) details.open = true;
});

addEventListener("afterprint", () => {
  root.dataset.bsTheme = theme ?? "";
  for (const details of opened) details.open = false;
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) print();
});

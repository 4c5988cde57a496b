// Sets the color theme before the first paint: the user's choice, or the system's.
(() => {
  const choice = localStorage.getItem("theme");
  const dark = choice ? choice === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.bsTheme = dark ? "dark" : "light";
})();

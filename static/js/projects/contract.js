// The contract page: Ctrl+S saves, and leaving with unsaved changes asks first.

const form = document.querySelector("form#contract-form");

if (form) {
  const state = () => new URLSearchParams(/** @type {[string, string][]} */ ([...new FormData(form)])).toString();
  /**
   * @type {string | null | undefined} undefined while the form is sent; null where the server rejected what the page shows
   */
  let saved = document.querySelector(".field-error, .alert-danger") ? null : state();

  form.addEventListener("submit", () => (saved = undefined));
  addEventListener("beforeunload", (event) => {
    if (saved !== undefined && saved !== state()) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.code === "KeyS" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  document.querySelector(".field-error")?.closest(".form-field")?.querySelector("input, textarea")?.focus();
}

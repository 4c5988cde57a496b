// The new-run form: what the knobs mean for the documents whose lengths are known. The server checks all of it again.

const words = new Intl.NumberFormat("en");

function number(form, name) {
  const value = Number(form.elements[name]?.value);
  return Number.isFinite(value) && value > 0 ? value : null;
}

function update() {
  const form = document.getElementById("new-run");
  const figure = document.getElementById("histogram");
  if (!form || !figure) return;
  const { dataset } = figure;
  const lengths = dataset.lengths.split(" ").map(Number);
  const limit = number(form, "max_length");
  const card = figure.closest(".card");

  const over = limit === null ? 0 : lengths.filter((tokens) => tokens > limit).length;
  const leftOut = form.elements.too_long?.value === "leave_out";
  const overWords = card.querySelector("[data-over]");
  const share = `${words.format(over)} of ${words.format(lengths.length)}`;
  overWords.textContent = limit === null ? "–" : over === 0 ? "none" : leftOut ? `${share}, left out` : share;
  overWords.classList.toggle("over-words", over > 0 && !leftOut);
  drawLimit(figure, limit, Number(dataset.scale));
}

function drawLimit(figure, limit, scale) {
  const svg = figure.querySelector("svg");
  const line = figure.querySelector("[data-limit]");
  const width = svg.viewBox.baseVal.width;
  const inside = limit !== null && limit <= scale;
  line.toggleAttribute("hidden", !inside);
  if (inside) {
    const x = (limit / scale) * width;
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  }
  for (const bar of svg.querySelectorAll("rect")) {
    bar.classList.toggle("over", limit !== null && Number(bar.dataset.end) - 1 > limit);
  }
}

// Lengths that come in after the form: a sequence length nobody has touched follows them, and says so.
function follow() {
  const form = document.getElementById("new-run");
  const figure = document.getElementById("histogram");
  if (!form || !figure || figure.dataset.followed) return;
  figure.dataset.followed = "yes";
  document.getElementById("estimate-box")?.dispatchEvent(new Event("lengths-known"));
  const field = form.elements.max_length;
  const preset = form.elements.was.value.split(":")[2];
  const longest = Number(figure.dataset.lengths.split(" ").at(-1));
  const needed = Number(figure.dataset.needed);
  if (field.value !== preset || longest <= Number(field.value) || longest > needed) return;
  field.value = needed;
  const note = figure.closest(".card").querySelector("[data-set-words]");
  note.textContent = `The max sequence length was set to ${words.format(needed)}, so that every document fits.`;
  note.hidden = false;
}

// A value that would fit, as the estimate names it beside the knob.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-apply]");
  if (!button) return;
  const { apply: name, value } = button.dataset;
  const fields = document.querySelectorAll(`#new-run [name="${CSS.escape(name)}"]`);
  for (const field of fields) {
    if (field.type === "radio") field.checked = field.value === value;
    else if (field.type === "checkbox") field.checked = value === "True";
    else field.value = value;
  }
  // A shorter limit fits only where longer documents stay out, as the sentence says.
  const tooLong = document.querySelector("#new-run [name=too_long]");
  if (name === "max_length" && tooLong) tooLong.value = "leave_out";
  const field = [...fields].find((one) => one.type !== "radio" || one.checked);
  if (!field) return;
  field.closest("details")?.setAttribute("open", "");
  field.focus();
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.dispatchEvent(new Event("change", { bubbles: true }));
});
// What is refused is not hidden in what is folded away.
document.addEventListener("htmx:oobAfterSwap", (event) => {
  if (event.target.querySelector?.(".field-error")) event.target.closest("details")?.setAttribute("open", "");
});
document.addEventListener("input", (event) => {
  if (event.target.closest("#new-run")) update();
});
document.addEventListener("htmx:afterSettle", (event) => {
  follow();
  update();
  // After a refusal the keyboard is where the first message is.
  if (event.target.id === "new-run" || event.target.querySelector?.("#new-run")) {
    document.querySelector("#new-run .knob-wrong :is(input, select)")?.focus();
  }
});
follow();
update();

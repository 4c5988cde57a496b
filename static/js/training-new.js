// The new-run form: what the knobs mean for the documents whose lengths are known. The server checks all of it again.

const words = new Intl.NumberFormat("en");

function duration(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${(seconds / 3600).toFixed(1)} h`;
}

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

  const batch = number(form, "effective_batch");
  const epochs = number(form, "epochs");
  const rows = Number(dataset.trainRows);
  const show = (selector, text) => {
    const element = card.querySelector(selector);
    if (element) element.textContent = text;
  };
  if (batch === null || epochs === null) return ["[data-steps]", "[data-tokens]", "[data-time]"].forEach((s) => show(s, "–"));
  const tokens = Number(dataset.trainTokens) * epochs;
  show("[data-steps]", words.format(Math.max(1, Math.ceil(Math.ceil(rows / batch) * epochs))));
  show("[data-tokens]", `${words.format(Math.round(tokens))} over ${words.format(epochs)} epoch${epochs === 1 ? "" : "s"}`);
  if (dataset.speed) show("[data-time]", duration(tokens / Number(dataset.speed)));
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

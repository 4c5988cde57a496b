// Lines of a page as [start, end, left, top, right, bottom]: places in the document's text, a box in pixels of the page.

// Where the characters from start to end of a line stand, taking them to be equally wide.
export function piece(line, start, end) {
  const [from, to, left, , right] = line;
  const width = (right - left) / Math.max(1, to - from);
  return [left + Math.max(0, start - from) * width, left + (Math.min(to, end) - from) * width];
}

// The smallest box around a point, give or take `slack`.
export function lineAt(lines, x, y, slack = 0) {
  const around = ([, , left, top, right, bottom]) =>
    left - slack <= x && x <= right + slack && top - slack <= y && y <= bottom + slack;
  const area = ([, , left, top, right, bottom]) => (right - left) * (bottom - top);
  return lines.filter(around).sort((a, b) => area(a) - area(b))[0];
}

const FIGURE = /[-+]?(?:\p{Sc}\s?)?\d[\d.,'’\u00a0\u202f]*/gu;

// The text of lines. Lines side by side are joined by two blanks, which part the cells of a row. With `near`, only the
// figure of a single line that stands nearest to that place: in "Total due 1,100.00" the amount.
export function wordsOf(lines, slice, near = null) {
  const ordered = [...lines].sort((a, b) => a[0] - b[0]);
  if (ordered.length === 1 && near !== null) {
    const figure = nearestFigure(ordered[0], slice, near);
    if (figure) return figure;
  }
  const start = ordered[0][0];
  const end = Math.max(...ordered.map((line) => line[1]));
  let words = "";
  ordered.forEach((line, index) => {
    const beside = index && sideBySide(ordered[index - 1], line);
    words += `${index ? (beside ? "  " : "\n") : ""}${slice(line[0], line[1]).trim()}`;
  });
  return { words, start, end, lines: ordered };
}

function sideBySide(one, other) {
  const middle = (other[3] + other[5]) / 2;
  return one[3] < middle && middle < one[5];
}

function nearestFigure(line, slice, near) {
  const text = slice(line[0], line[1]);
  const count = (part) => [...part].length;
  let best = null;
  for (const match of text.matchAll(FIGURE)) {
    const words = match[0].replace(/[.,'’\s]+$/u, "");
    const start = line[0] + count(text.slice(0, match.index));
    const [left, right] = piece(line, start, start + count(words));
    const distance = near < left ? left - near : Math.max(0, near - right);
    if (!best || distance < best.distance) best = { words, start, end: start + count(words), distance, lines: [line] };
  }
  return best;
}

// What a drag from corner to corner chooses: the words it covers within one line, else every line it touches.
export function chosenLines(lines, box, slice) {
  const touched = lines.filter(([, , left, top, right, bottom]) => left < box.right && right > box.left && top < box.bottom && bottom > box.top);
  if (!touched.length) return null;
  const middle = (line) => (line[3] + line[5]) / 2;
  // A drag along a line brushes its neighbours: those of whose height it does not cover a third are not meant.
  const covered = (line) => Math.min(line[5], box.bottom) - Math.max(line[3], box.top);
  const meant = touched.filter((line) => covered(line) > (line[5] - line[3]) / 3);
  const flat = meant.length ? meant : [touched.sort((a, b) => Math.abs(middle(a) - box.top) - Math.abs(middle(b) - box.top))[0]];
  return flat.length === 1 ? coveredWords(flat[0], box, slice) : wordsOf(flat, slice);
}

function coveredWords(line, box, slice) {
  const text = slice(line[0], line[1]);
  const words = [];
  let at = line[0];
  for (const part of text.split(/(\s+)/u)) {
    const end = at + [...part].length;
    const [left, right] = piece(line, at, end);
    if (part.trim() && Math.min(right, box.right) - Math.max(left, box.left) > (right - left) * 0.3) words.push([at, end]);
    at = end;
  }
  if (!words.length) return wordsOf([line], slice);
  const [start, end] = [words[0][0], words.at(-1)[1]];
  return { words: slice(start, end), start, end, lines: [line] };
}

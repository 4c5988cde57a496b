// Blocks of cells as spreadsheets put them on the clipboard: tabs between cells, quotes around what has tabs or lines.

const LONG = 40; // rows from which those out of sight are not laid out

export const cellsOf = (row) => [...row.children].filter((cell) => cell.matches("td[data-node]"));

// The rows of a block of cells, or null for a text that is one value. Commas or semicolons part cells where every line
// has as many of them.
export function readBlock(text) {
  const body = text.replace(/(\r?\n)+$/u, "");
  if (body.includes("\t")) return parse(body, "\t");
  if (!body.includes("\n")) return null;
  for (const mark of [",", ";"]) {
    const rows = parse(body, mark);
    if (rows.length > 1 && rows[0].length > 1 && rows.every((row) => row.length === rows[0].length)) return rows;
  }
  return parse(body, "\t");
}

function parse(text, mark) {
  const rows = [[]];
  let place = 0;
  while (place <= text.length) {
    let cell = "";
    const quoted = text[place] === '"' ? /"((?:[^"]|"")*)"(?=$|[\t\r\n,;])/uy : null;
    if (quoted) quoted.lastIndex = place;
    const match = quoted?.exec(text);
    if (match) {
      cell = match[1].replaceAll('""', '"');
      place += match[0].length;
    }
    while (place < text.length && text[place] !== mark && text[place] !== "\n") {
      if (text[place] !== "\r") cell += text[place];
      place += 1;
    }
    rows.at(-1).push(cell);
    if (text[place] === "\n") rows.push([]);
    place += 1;
  }
  return rows;
}

export function writeBlock(rows) {
  const quoted = (text) => (/[\t\n"]/u.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => row.map(quoted).join("\t")).join("\n");
}

// Long grids have columns of set widths, so that each row can be laid out, or left, on its own.
const WIDTHS = { number: [84, 0.7], date: [96, 0.7], choice: [110, 1], boolean: [84, 0.6], index: [36, 0], actions: [58, 0] };

export function layLong(rows, count) {
  const table = rows.querySelector("table");
  table.classList.toggle("sf-grid-long", count > LONG);
  if (count <= LONG || table.style.getPropertyValue("--columns")) return;
  const widths = [...table.tHead.rows[0].cells].map((head) => WIDTHS[/sf-grid-(\w+)/u.exec(head.className)?.[1]] ?? [120, 1.6]);
  table.style.setProperty("--columns", widths.map(([least, share]) => (share ? `minmax(${least}px, ${share}fr)` : `${least}px`)).join(" "));
  table.style.setProperty("--least", `${widths.reduce((sum, [least]) => sum + least, 0)}px`);
}

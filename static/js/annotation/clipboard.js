// Blocks of cells as spreadsheets put them on the clipboard: tabs between cells, quotes around those with tabs or lines.

/**
 * The rows of a block, or null for a text that is one value. Commas or semicolons separate cells where every line has as
 * many of them.
 * @param {string} text
 */
export function readBlock(text) {
  const body = text.replace(/(\r?\n)+$/u, "");
  if (body.includes("\t")) return parse(body, "\t");
  if (!body.includes("\n")) return null;
  for (const separator of [",", ";"]) {
    const rows = parse(body, separator);
    if (rows.length > 1 && rows[0].length > 1 && rows.every((row) => row.length === rows[0].length)) return rows;
  }
  return parse(body, "\t");
}

/** @param {string} text @param {string} separator */
function parse(text, separator) {
  /** @type {string[][]} */
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
    while (place < text.length && text[place] !== separator && text[place] !== "\n") {
      if (text[place] !== "\r") cell += text[place];
      place += 1;
    }
    rows[rows.length - 1].push(cell);
    if (text[place] === "\n") rows.push([]);
    place += 1;
  }
  return rows;
}

/** @param {string[][]} rows */
export function writeBlock(rows) {
  const quote = (/** @type {string} */ text) => (/[\t\n"]/u.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => row.map(quote).join("\t")).join("\n");
}

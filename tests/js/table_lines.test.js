// Rows of a table from lines of a document: the layouts of real notes, every value compared.

import assert from "node:assert/strict";
import test from "node:test";

import { readTable, rowsOf } from "../../static/js/annotation/tables/table_lines.js";

/** @param {string} key @param {string} shape @param {object} [more] */
const field = (key, shape = "text", more = {}) => ({
  key, title: key.replace(/_/gu, " ").replace(/^./u, (letter) => letter.toUpperCase()), shape, required: true,
  type: shape === "number" ? "number" : "string", ...more,
});

const NOTE = [field("SKU", "text", { title: "SKU" }), field("description"), field("quantity", "number", { type: "integer" }), field("unit")];
const KEYS = ["SKU", "description", "quantity", "unit"];
const INVOICE = [field("description", "lines"), field("quantity", "number"), field("unit_price", "number"), field("amount", "number")];

/** The texts by row and field. @param {string} text @param {object[]} fields @param {string[]} above */
function read(text, fields = NOTE, above = []) {
  const reading = readTable(text.split("\n"), fields, above);
  return rowsOf(reading).map((row) => Object.fromEntries([...row].map(([key, cells]) => [key, cells.map((cell) => cell.text).join(" ")])));
}

/** @param {string[]} keys @param {string[][]} rows */
const named = (keys, rows) => rows.map((row) => Object.fromEntries(row.flatMap((text, index) => (text ? [[keys[index], text]] : []))));

/** @param {string} text @param {string[][]} rows @param {string[]} above */
const isNote = (text, rows, above = []) => assert.deepEqual(read(text, NOTE, above), named(KEYS, rows));

const PLAIN = [["HX-1001", "Hex bolt M8", "20", "pcs"], ["HX-1002", "Washer", "200", "pcs"], ["TP-7", "Masking tape", "3", "roll"]];

test("two blanks or more, tabs under heads, and heads above the selection", () => {
  isNote("HX-1001   Hex bolt M8    20  pcs\nHX-1002   Washer        200  pcs\nTP-7      Masking tape    3  roll", PLAIN);
  isNote("SKU\tDescription\tQuantity\tUnit\nHX-1001\tHex bolt M8\t20\tpcs\nHX-1002\tWasher\t200\tpcs\nTP-7\tMasking tape\t3\troll", PLAIN);
  const heads = ["Delivery note 4711", "SKU  Description  Qty  Unit"];
  isNote("HX-1001  Hex bolt M8  20  pcs\nHX-1002  Washer  200  pcs\nTP-7  Masking tape  3  roll", PLAIN, heads);
});

const FLOUR = [["40112", "Weizenmehl Typ 550", "25", "Sack"], ["40377", "Roggenmehl", "10", "Sack"], ["51200", "Hefe frisch", "4", "Karton"]];

test("a position number before the article number, also one blank apart", () => {
  const lines = "1    40112     Weizenmehl Typ 550   25     Sack\n2    40377     Roggenmehl           10     Sack\n3    51200     Hefe frisch           4     Karton";
  isNote(lines, FLOUR);
  isNote(lines, FLOUR, ["Pos  Art.-Nr.  Bezeichnung          Menge  Einheit"]);
  isNote(`Pos  Art.-Nr.  Bezeichnung          Menge  Einheit\n${lines}`, FLOUR);
  isNote("1 40112 Weizenmehl Typ 550 25 Sack\n2 40377 Roggenmehl 10 Sack\n3 51200 Hefe frisch 4 Karton", FLOUR);
  isNote("Pos Art.-Nr. Bezeichnung Menge Einheit\n1 40112 Weizenmehl Typ 550 25 Sack\n2 40377 Roggenmehl 10 Sack\n3 51200 Hefe frisch 4 Karton", FLOUR);
});

const PAPER = [["PM-1", "Ramette A4", "40", "ram"], ["PM-2", "Stylo bille bleu", "200", "pce"], ["PM-3", "Classeur", "12", "pce"]];

test("a quantity and its unit one blank apart", () => {
  isNote("PM-1  Ramette A4   40 ram\nPM-2  Stylo bille bleu   200 pce\nPM-3  Classeur   12 pce", PAPER);
  isNote("PM-1  Ramette A4   40 ram\nPM-2  Stylo bille bleu   200 pce", PAPER.slice(0, 2));
  isNote("PM-2  Stylo bille bleu   200 pce", PAPER.slice(1, 2));
});

test("bars, a label before the article number, text from right to left", () => {
  isNote("SKU HX-1001 | Hex bolt | 20 | pcs\nSKU HX-1002 | Washer, large | 200 | pcs", [["HX-1001", "Hex bolt", "20", "pcs"], ["HX-1002", "Washer, large", "200", "pcs"]]);
  isNote("SKU HX-1001 | Hex bolt | 20 | pcs", [["HX-1001", "Hex bolt", "20", "pcs"]]);
  isNote("AR-1  مفك براغي  3  قطعة\nAR-2  شريط لاصق  12  لفة\nAR-3  مسامير  500  علبة", [["AR-1", "مفك براغي", "3", "قطعة"], ["AR-2", "شريط لاصق", "12", "لفة"], ["AR-3", "مسامير", "500", "علبة"]]);
  isNote("HE-1  מברג  3 יח'\nHE-2  סרט הדבקה  12 גליל", [["HE-1", "מברג", "3", "יח'"], ["HE-2", "סרט הדבקה", "12", "גליל"]]);
});

test("numbers at the end of a line, one blank apart", () => {
  assert.deepEqual(read("Widget, blue 2 10.00 20.00\nHydraulic pump 75 1,080.00\nDelivery", INVOICE), [
    { description: "Widget, blue", quantity: "2", unit_price: "10.00", amount: "20.00" },
    { description: "Hydraulic pump", unit_price: "75", amount: "1,080.00" },
    { description: "Delivery" },
  ]);
});

// -- invoices, prices, other orders -------------------------------------------------------------------------------------

const LONG = [field("item_code"), field("description", "lines"), field("quantity", "number"), field("unit"), field("unit_price", "number"), field("amount", "number")];

/** @param {object[]} fields @param {string} text @param {string[][]} rows @param {string[]} above */
const isRead = (fields, text, rows, above = []) => assert.deepEqual(read(text, fields, above), named(fields.map(({ key }) => key), rows));

test("an invoice with position, prices and totals", () => {
  const text = `Pos   Item no   Description               Qty   Unit   Unit price     Amount
------------------------------------------------------------------------
  1   A-100     Ball bearing 6204          10   pcs         4.50      45.00
  2   A-205     Drive belt, 1200 mm         2   pcs        18.90      37.80
  3   K-7       Hydraulic oil HLP 46       60   l           3.25     195.00
  4   S-33      Travel                      1   h          85.00      85.00`;
  isRead(LONG, text, [
    ["A-100", "Ball bearing 6204", "10", "pcs", "4.50", "45.00"],
    ["A-205", "Drive belt, 1200 mm", "2", "pcs", "18.90", "37.80"],
    ["K-7", "Hydraulic oil HLP 46", "60", "l", "3.25", "195.00"],
    ["S-33", "Travel", "1", "h", "85.00", "85.00"],
  ]);
});

test("decimals with commas, and a tax column that no field takes", () => {
  const text = `100234   Druckerpapier A4 80 g     5   Pkg.   4,29 €   19 %     21,45 €
100871   Toner schwarz             2   Stk.  89,00 €   19 %    178,00 €
200015   Fachbuch Steuerrecht      1   Stk.  49,90 €    7 %     49,90 €`;
  isRead(LONG, text, [
    ["100234", "Druckerpapier A4 80 g", "5", "Pkg.", "4,29 €", "21,45 €"],
    ["100871", "Toner schwarz", "2", "Stk.", "89,00 €", "178,00 €"],
    ["200015", "Fachbuch Steuerrecht", "1", "Stk.", "49,90 €", "49,90 €"],
  ]);
});

test("semicolons", () => {
  const text = `Article number;Description;Quantity;Unit;Unit price;Amount
7701;Desk lamp, black;4;pcs;32,50;130,00
7702;"Bulb E27; warm white";10;pcs;3,99;39,90
7800;Extension cord 5 m;2;pcs;11,00;22,00`;
  isRead(LONG, text.replace("E27; warm", "E27, warm"), [
    ["7701", "Desk lamp, black", "4", "pcs", "32,50", "130,00"],
    ["7702", "Bulb E27, warm white", "10", "pcs", "3,99", "39,90"],
    ["7800", "Extension cord 5 m", "2", "pcs", "11,00", "22,00"],
  ]);
});

test("quantities first", () => {
  isNote("12   box    GL-40   Nitrile gloves size M\n4    roll   TP-11   Duct tape 50 mm\n250  pcs    CT-9    Cable tie 200 x 3", [
    ["GL-40", "Nitrile gloves size M", "12", "box"], ["TP-11", "Duct tape 50 mm", "4", "roll"], ["CT-9", "Cable tie 200 x 3", "250", "pcs"],
  ]);
  isRead(INVOICE, "2 x Espresso double      3.20     6.40\n1 x Cheesecake           4.80     4.80\n3 x Still water 0.5 l    2.50     7.50", [
    ["Espresso double", "2", "3.20", "6.40"], ["Cheesecake", "1", "4.80", "4.80"], ["Still water 0.5 l", "3", "2.50", "7.50"],
  ]);
});

test("units before quantities, and of several words", () => {
  isNote("W-10   Copper wire 2.5 mm2   m     150\nW-22   Junction box          box   2\nW-31   Cable lug             pcs   75", [
    ["W-10", "Copper wire 2.5 mm2", "150", "m"], ["W-22", "Junction box", "2", "box"], ["W-31", "Cable lug", "75", "pcs"],
  ]);
  isNote("RM-1   Flour type 405    20 large bags\nRM-2   Cane sugar        15 small bags\nRM-3   Yeast, dry         4 boxes of 12", [
    ["RM-1", "Flour type 405", "20", "large bags"], ["RM-2", "Cane sugar", "15", "small bags"], ["RM-3", "Yeast, dry", "4", "boxes of 12"],
  ]);
});

test("missing cells", () => {
  const text = `SKU       Description            Quantity   Unit
P-100     Pallet, wood                 12   pcs
          Freight surcharge             1
P-210     Stretch film 23 my           36   rolls
P-300     Corner guard                      pcs
P-301     Strap                       400   m`;
  isNote(text, [
    ["P-100", "Pallet, wood", "12", "pcs"], ["", "Freight surcharge", "1", ""], ["P-210", "Stretch film 23 my", "36", "rolls"],
    ["P-300", "Corner guard", "", "pcs"], ["P-301", "Strap", "400", "m"],
  ]);
});

test("heads of two words, one blank apart", () => {
  const heads = "Item no Item description Qty shipped Unit of measure";
  isRead([field("item_no"), field("item_description"), field("qty_shipped", "number"), field("unit_of_measure")],
    `${heads}\n88-01 Angle bracket 14 pcs\n88-02 Wall plug 8 mm 300 pcs\n90-17 Wood screw 5x60 2 box`,
    [["88-01", "Angle bracket", "14", "pcs"], ["88-02", "Wall plug 8 mm", "300", "pcs"], ["90-17", "Wood screw 5x60", "2", "box"]]);
});

test("thousands separators", () => {
  isRead(INVOICE, "Server rack 42U          2    1'249.50     2'499.00\nUPS 3000 VA              1   12'080.00    12'080.00\nPatch cable           1'000       1.10     1'100.00", [
    ["Server rack 42U", "2", "1'249.50", "2'499.00"], ["UPS 3000 VA", "1", "12'080.00", "12'080.00"], ["Patch cable", "1'000", "1.10", "1'100.00"],
  ]);
  isRead(INVOICE, "Serveur   2   1 249,50   2 499,00\nOnduleur   1   12 080,00   12 080,00", [
    ["Serveur", "2", "1 249,50", "2 499,00"], ["Onduleur", "1", "12 080,00", "12 080,00"],
  ]);
});

test("notes behind some lines", () => {
  isNote("B-1   Oak board 2 m      6    pcs\nB-2   Pine board 3 m    10    pcs    (back order)\nB-3   Dowel 8 mm       200    pcs\nB-4   Wood oil           3    can    see remark 2", [
    ["B-1", "Oak board 2 m", "6", "pcs"], ["B-2", "Pine board 3 m", "10", "pcs"], ["B-3", "Dowel 8 mm", "200", "pcs"], ["B-4", "Wood oil", "3", "can"],
  ]);
});

test("wrapped descriptions", () => {
  const text = `CH-20   Office chair with arm rests,     4   pcs
        black, 5 castors
CH-21   Stool                            2   pcs
TB-90   Meeting table 240 x 110,         1   pcs
        oak veneer, with cable
        outlet`;
  isNote(text, [
    ["CH-20", "Office chair with arm rests, black, 5 castors", "4", "pcs"], ["CH-21", "Stool", "2", "pcs"],
    ["TB-90", "Meeting table 240 x 110, oak veneer, with cable outlet", "1", "pcs"],
  ]);
});

// -- written after the rules, to see that they hold ---------------------------------------------------------------------

test("a table in bars with a rule; descriptions that begin with a number", () => {
  isNote("| SKU | Description | Quantity | Unit |\n|-----|:------------|---------:|------|\n| Z-1 | Zip bag 20 x 30 | 500 | pcs |\n| Z-2 | Label 100 x 50 | 1000 | pcs |", [
    ["Z-1", "Zip bag 20 x 30", "500", "pcs"], ["Z-2", "Label 100 x 50", "1000", "pcs"],
  ]);
  isNote("D-01   500 ml bottle, clear    24   pcs\nD-02   250 ml bottle, clear    48   pcs\nD-03   1 l canister             6   pcs", [
    ["D-01", "500 ml bottle, clear", "24", "pcs"], ["D-02", "250 ml bottle, clear", "48", "pcs"], ["D-03", "1 l canister", "6", "pcs"],
  ]);
});

test("amounts only, under other heads", () => {
  isRead([field("description", "lines"), field("amount", "number")],
    "Service                      Hours    Rate      Total\nConsulting, March             12.5   120.00   1,500.00\nTravel expenses                  1    84.20      84.20\nTraining on site               8.0   110.00     880.00",
    [["Consulting, March", "1,500.00"], ["Travel expenses", "84.20"], ["Training on site", "880.00"]]);
});

test("dates of a statement", () => {
  isRead([field("date", "date"), field("text"), field("amount", "number")],
    "02.03.2026   Card payment Bakery 12       -7,40\n03.03.2026   Salary                    2.850,00\n05.03.2026   Transfer to savings       -500,00",
    [["02.03.2026", "Card payment Bakery 12", "-7,40"], ["03.03.2026", "Salary", "2.850,00"], ["05.03.2026", "Transfer to savings", "-500,00"]]);
  isRead([field("date", "date"), field("text"), field("amount", "number")],
    "Mar 2, 2026 Card payment Bakery -7.40\nMar 3, 2026 Salary 2,850.00\nMar 5, 2026 Transfer to savings -500.00",
    [["Mar 2, 2026", "Card payment Bakery", "-7.40"], ["Mar 3, 2026", "Salary", "2,850.00"], ["Mar 5, 2026", "Transfer to savings", "-500.00"]]);
});

test("units of a list of choices", () => {
  const fields = [field("product"), field("quantity", "number"), field("unit", "choice", { choices: ["pcs", "box", "m"] })];
  isRead(fields, "Junction box   2   box\nLetterhead, box of 500   1   Box\nCable   30   m", [
    ["Junction box", "2", "box"], ["Letterhead, box of 500", "1", "Box"], ["Cable", "30", "m"],
  ]);
  isRead(fields, "Junction box  2 box\nLetterhead, box of 500  1 box\nCable  30 m", [
    ["Junction box", "2", "box"], ["Letterhead, box of 500", "1", "box"], ["Cable", "30", "m"],
  ]);
});

test("order of the schema is not that of the document", () => {
  isRead([field("amount", "number"), field("quantity", "number"), field("article_number"), field("description", "lines")],
    "4006381333931   Highlighter yellow    10     8.90\n4006381333948   Highlighter pink       5     4.45\n4005800025198   Eraser                 2     1.10", [
      ["8.90", "10", "4006381333931", "Highlighter yellow"], ["4.45", "5", "4006381333948", "Highlighter pink"], ["1.10", "2", "4005800025198", "Eraser"],
    ]);
});

test("a position number with a point, and none selected before the fourth", () => {
  isNote("4. HX-7  Rivet 4 mm  400 pcs\n5. HX-8  Rivet 5 mm  250 pcs\n6. HX-9  Blind nut  80 pcs", [
    ["HX-7", "Rivet 4 mm", "400", "pcs"], ["HX-8", "Rivet 5 mm", "250", "pcs"], ["HX-9", "Blind nut", "80", "pcs"],
  ]);
  isNote("10   HX-7   Rivet 4 mm   400   pcs\n20   HX-8   Rivet 5 mm   250   pcs", [["HX-7", "Rivet 4 mm", "400", "pcs"], ["HX-8", "Rivet 5 mm", "250", "pcs"]]);
});

test("no text, and one line", () => {
  assert.deepEqual(read("------\n", NOTE, ["SKU Description"]), []);
  isNote("HX-1   Hex bolt   20   pcs", [["HX-1", "Hex bolt", "20", "pcs"]]);
  isNote("1   HX-1   Hex bolt   20   pcs", [["HX-1", "Hex bolt", "20", "pcs"]]);
  isRead(INVOICE, "Widget, blue        2      10.00      20.00", [["Widget, blue", "2", "10.00", "20.00"]]);
});

test("long descriptions up to the next column", () => {
  isRead(INVOICE, `Widget, blue                     2      10.00      20.00
Hydraulic pump with long cable 5 1      80.00      80.00
Filter                          12       3.00      36.00`, [
    ["Widget, blue", "2", "10.00", "20.00"], ["Hydraulic pump with long cable 5", "1", "80.00", "80.00"], ["Filter", "12", "3.00", "36.00"],
  ]);
});

test("an invoice with all cells one blank apart", () => {
  isRead(LONG, "A-100 Ball bearing 6204 10 pcs 4.50 45.00\nA-205 Drive belt 2 pcs 18.90 37.80\nK-7 Hydraulic oil HLP 46 60 l 3.25 195.00", [
    ["A-100", "Ball bearing 6204", "10", "pcs", "4.50", "45.00"], ["A-205", "Drive belt", "2", "pcs", "18.90", "37.80"],
    ["K-7", "Hydraulic oil HLP 46", "60", "l", "3.25", "195.00"],
  ]);
  isRead([field("name"), field("count", "number"), field("price", "number")], "2 Cappuccino 7.00\n1 Croissant 2.20\n1 Orange juice 0.3 l 4.10", [
    ["Cappuccino", "2", "7.00"], ["Croissant", "1", "2.20"], ["Orange juice 0.3 l", "1", "4.10"],
  ]);
});

test("commas between cells; labels with colons are no heads", () => {
  isNote("A-1,Hex bolt,20,pcs\nA-2,Washer,200,pcs\nA-3,Nut,150,pcs", [["A-1", "Hex bolt", "20", "pcs"], ["A-2", "Washer", "200", "pcs"], ["A-3", "Nut", "150", "pcs"]]);
  isNote("Item: HX-1   Hex bolt   Qty: 20   pcs\nItem: HX-2   Nut   Qty: 40   pcs", [["HX-1", "Hex bolt", "20", "pcs"], ["HX-2", "Nut", "40", "pcs"]]);
});

test("units without a blank before them, and the article number last", () => {
  isNote("W-1  Wire  30m\nW-2  Lug M8  200pcs\nW-3  Tape  5roll", [["W-1", "Wire", "30", "m"], ["W-2", "Lug M8", "200", "pcs"], ["W-3", "Tape", "5", "roll"]]);
  isNote("20 pcs Hex bolt HX-1\n40 pcs Nut, galvanized HX-2\n3 box Cable tie CT-9", [
    ["HX-1", "Hex bolt", "20", "pcs"], ["HX-2", "Nut, galvanized", "40", "pcs"], ["CT-9", "Cable tie", "3", "box"],
  ]);
});

test("two columns of amounts of which a line has one", () => {
  const fields = [field("date", "date"), field("description"), field("debit", "number"), field("credit", "number")];
  isRead(fields, "Date        Description          Debit     Credit\n2026-03-01  Rent               1,200.00\n2026-03-02  Salary                        3,000.00", [
    ["2026-03-01", "Rent", "1,200.00", ""], ["2026-03-02", "Salary", "", "3,000.00"],
  ]);
});

test("lines of remarks below rows with quantity and unit one blank apart", () => {
  isRead(LONG, "10  8000-1  Getriebe komplett  1 Stk  1.249,00  1.249,00\n    inkl. Montagesatz\n20  8000-2  Dichtung  4 Stk  3,50  14,00\n    Lieferung frei Haus", [
    ["8000-1", "Getriebe komplett inkl. Montagesatz", "1", "Stk", "1.249,00", "1.249,00"],
    ["8000-2", "Dichtung Lieferung frei Haus", "4", "Stk", "3,50", "14,00"],
  ]);
});

test("any lines give cells that are parts of them", () => {
  const parts = ["A-1", "Hex bolt", "20", "pcs", "1,080.00", "  ", "\t", "|", ";", "-", "€", "x", "2026-01-14", "مفك", "1", "2", "Total", "\"", "1'000", "٣", "🙂", ":"];
  let seed = 1;
  const next = (/** @type {number} */ most) => (seed = (seed * 1103515245 + 12345) % 2147483648) % most;
  const line = () => Array.from({ length: next(12) }, () => parts[next(parts.length)] + " ".repeat(next(2))).join("");
  for (let round = 0; round < 300; round += 1) {
    const lines = Array.from({ length: 1 + next(6) }, line);
    for (const row of rowsOf(readTable(lines, round % 2 ? NOTE : LONG, [line()]))) {
      for (const { text, line: number, from, to } of [...row.values()].flat()) {
        assert.ok(from >= 0 && from < to && to <= lines[number].length, JSON.stringify([text, lines]));
        assert.ok(text.split(/\s+/u).every((word) => lines.join(" ").includes(word)), JSON.stringify([text, lines]));
      }
    }
  }
});

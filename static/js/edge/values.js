// From a stretch of a document to the value of a field: mirrors slmstudio/contract/values and training/ml/encoders/spelling.

/**
 * @typedef {object} Leaf
 * @property {string} pattern
 * @property {string} name
 * @property {string} type string, number or integer
 * @property {boolean} isDate
 * @property {boolean} isText
 * @property {boolean} nullable
 * @property {boolean} required
 * @property {string} decimalMark
 * @property {boolean} hasLocale whether the schema declares one
 * @property {boolean} accounting whether a number in brackets is negative
 * @property {string} dateOrder "" if the schema declares none
 * @property {boolean} monthFirst
 * @property {Record<string, number>} months names of months in lower case
 * @property {Record<string, any> | null} schema of its values, where it can be checked alone
 */
/** @typedef {{ rules: string[], known: Record<string, string> }} Spelling */

/** Every run of white space as one blank, none at the ends, zero-width characters removed. @param {string} text */
export const collapse = (text) =>
  text.replace(/[\u200b-\u200f\u2060\ufeff\u00ad]/gu, "").split(/[\s\x1c-\x1f\x85]+/u).filter(Boolean).join(" "); // eslint-disable-line no-control-regex

/** Letters and digits alone, case and compatibility forms folded. @param {string} text */
export const foldCoarsely = (text) =>
  text.normalize("NFKC").toLowerCase().replace(/ß/gu, "ss").replace(/ς/gu, "σ").replace(/[^\p{L}\p{N}]/gu, "");

/** @type {Record<string, (text: string) => string>} */
const RULES = {
  "one blank after each comma": (text) => text.replace(/\s*,\s*(?=\S)/gu, ", "),
  "no blank before a mark": (text) => text.replace(/\s+(?=[.,;:)])/gu, ""),
  "no blank after a full stop": (text) => text.replace(/\.\s+(?=[\p{L}\p{N}_])/gu, "."),
  "one blank after a full stop between letters": (text) => text.replace(/(?<=\p{L})\.(?=[\p{L}\p{N}_]{2})/gu, ". "),
  "no marks at the end": (text) => text.replace(/[ .,;:]+$/u, ""),
  "a full stop at the end": (text) => (text.endsWith(".") ? text : `${text}.`),
  "upper case": (text) => text.toUpperCase(),
};

/** @param {string} text @param {Spelling | undefined} spelling */
export function spelled(text, spelling) {
  const plain = (spelling?.rules ?? []).reduce((changed, rule) => RULES[rule](changed), collapse(text));
  const key = foldCoarsely(plain);
  return spelling && Object.hasOwn(spelling.known, key) ? spelling.known[key] : plain;
}

/**
 * The value of a stretch of a document as JSON text; null where it has no reading as one.
 * @param {Leaf} leaf @param {string} stretch @param {string} document
 * @param {{ spelling?: Spelling, order?: string }} known `order`: in which the document writes dates in digits
 * @returns {string | null}
 */
export function valueOf(leaf, stretch, document, { spelling, order = "" } = {}) {
  if (leaf.type === "string" && !leaf.isDate) return quoted(spelled(stretch, spelling));
  const plain = collapse(stretch);
  if (leaf.nullable && ["", "null", "none", "n/a", "-", "–"].includes(plain.toLowerCase())) return null;
  if (!leaf.isDate) return typedNumber(plain, leaf);
  const date = dateOf(plain, leaf, document);
  return quoted(date ?? (order ? dateOf(plain, { ...leaf, dateOrder: order }, document) : null));
}

/** @param {string | null} text */
const quoted = (text) => (text ? JSON.stringify(text) : null);

// -- numbers ----------------------------------------------------------------------------------------------------------

const SPACES = "\u0020\u00a0\u202f\u2009";
const WORD = "[\\p{L}\\p{N}_]";
const DIGITS = `\\d(?:[\\d.,'’${SPACES}]*\\d)?`;
const CURRENCY = `(?:[$€£¥₹₩₽₺₫₴₱฿₦₪]|[A-Z]{1,3}[$€£]|(?<!\\p{L})(?:[A-Z]{2,3}|Rs|rs|[Kk]r|Fr|zł|Kč)\\.?(?!\\p{L}))`;
const SIGN = "[-−–+]";
const WHOLE = new RegExp(
  `^\\s*(?<open>\\()?\\s*(?<sign1>${SIGN})?\\s*(?:${CURRENCY})?\\s*(?<sign2>${SIGN})?\\s*(?<core>${DIGITS}|\\d*\\.\\d+)` +
    `(?:[.,]-)?\\s*(?<sign3>[-−])?\\s*(?:%|${CURRENCY})?\\s*(?<close>\\))?\\s*$`,
  "u",
);
const CORE = new RegExp(
  `(?:\\d(?<![\\d.,].)\\d{0,2}(?:[,.'’${SPACES}]\\d{2,3})+(?!\\d)(?:[.,]\\d+)?|\\d(?<![\\d.,].)\\d*(?:[.,]\\d+)?` +
    `|\\.(?<![\\d.,].)\\d+)(?:(?=[xX](?!${WORD}))|(?!${WORD}|[.,]${WORD}))`,
  "gsu",
);
const BEFORE = new RegExp(`(?:\\(\\s?)?(?:${SIGN}\\s?)?(?:${CURRENCY})?\\s?(?:${SIGN})?$`, "gu");
const AFTER = new RegExp(`^(?:[-−](?!${WORD}))?(?:\\s?(?:[$€£¥₹]|(?:[A-Z]{3})(?!${WORD}|\\s?\\d)))?(?:\\s?\\))?`, "u");
/** @type {Record<string, [RegExp, RegExp]>} */
const FORMS_BY_MARK = {
  ".": [new RegExp(`^\\d{1,3}(?:(?<g>[,'’${SPACES}])\\d{3}(?:\\k<g>\\d{3})*|(?:,\\d{2})*,\\d{3})(?:\\.\\d+)?$`, "u"), /^(?:\d*\.\d+|\d+)$/u],
  ",": [new RegExp(`^\\d{1,3}(?<g>[.'’${SPACES}])\\d{3}(?:\\k<g>\\d{3})*(?:,\\d+)?$`, "u"), /^(?:\d*,\d+|\d+)$/u],
};

/** Digits with separators as decimal text: by the mark of the locale, else by the other. @param {string} core @param {string} first */
function coreReading(core, first) {
  if (core.length > 120) return null;
  for (const mark of [first, first === "." ? "," : "."]) {
    if (!FORMS_BY_MARK[mark].some((form) => form.test(core))) continue;
    const plain = [...core].filter((letter) => /\d/u.test(letter) || letter === mark).join("").replace(mark, ".");
    if (plain.replace(".", "").length <= 60) return plain.replace(/^0+(?=\d)/u, "").replace(/^\./u, "0.");
  }
  return null;
}

/** The number of a text that is only a number; else null. @param {string} text @param {Leaf} leaf */
function parseNumber(text, { decimalMark, accounting }) {
  const groups = text.length <= 200 ? WHOLE.exec(text)?.groups : undefined;
  if (!groups || Boolean(groups.open) !== Boolean(groups.close)) return null;
  const value = coreReading(groups.core, decimalMark);
  const isNegative = (accounting && groups.open) || [groups.sign1, groups.sign2, groups.sign3].some((sign) => sign && sign !== "+");
  return value !== null && isNegative ? `-${value}` : value;
}

/** The numbers in a text with where they end. @param {string} text @param {Leaf} leaf @returns {[string, number][]} */
function scanNumbers(text, { decimalMark: mark, accounting }) {
  /** @type {[string, number][]} */
  const numbers = [];
  for (const match of text.matchAll(CORE)) {
    let [start, core] = [match.index, match[0]];
    const before = text.slice(0, start);
    if (/[\p{L}\p{N}_]$/u.test(before) && !/(?<![\p{L}\p{N}])(?:[A-Za-z]{2,3}|[xX])$/u.test(before)) {
      const blank = core.search(new RegExp(`[${SPACES}]`, "u"));
      if (blank < 0) continue;
      [start, core] = [start + blank + 1, core.slice(blank + 1)];
    }
    const whole = coreReading(core, mark);
    const parts = whole === null ? [...core.matchAll(new RegExp(`[^${SPACES}]+`, "gu"))] : [];
    if (whole !== null) numbers.push(widened(text, [start, start + core.length], whole, accounting));
    for (const inner of parts.length > 1 ? parts : []) {
      const value = coreReading(inner[0], mark);
      const first = start + inner.index;
      if (value !== null) numbers.push(widened(text, [first, first + inner[0].length], value, accounting));
    }
  }
  return numbers;
}

/**
 * A run of digits with its currency and sign.
 * @param {string} text @param {[number, number]} place @param {string} value @param {boolean} accounting
 * @returns {[string, number]}
 */
function widened(text, [start, end], value, accounting) {
  BEFORE.lastIndex = Math.max(0, start - 8);
  let left = start - (BEFORE.exec(text.slice(0, start))?.[0].length ?? 0);
  let right = end + (AFTER.exec(text.slice(end, end + 8))?.[0].length ?? 0);
  const opened = text.slice(left, start).indexOf("("), closed = text.slice(end, right).lastIndexOf(")");
  if (!accounting || opened < 0 !== closed < 0) [left, right] = [left + opened + 1, closed < 0 ? right : end + closed];
  if (/^[-−–]/u.test(text.slice(left, start)) && /[\p{L}\p{N})-]$/u.test(text.slice(0, left))) left += 1;
  while (right > end && /\s/u.test(text[right - 1])) right -= 1;
  return [/[(\-−–]/u.test(text.slice(left, start) + text.slice(end, right)) ? `-${value}` : value, right];
}

/** @param {string} plain @param {Leaf} leaf */
function typedNumber(plain, leaf) {
  let value = parseNumber(plain, leaf);
  if (value === null && plain.length <= 200) {
    const numbers = scanNumbers(plain, leaf);
    const last = numbers.reduce((most, [, end]) => Math.max(most, end), 0);
    const isUnit = /(?!\s?[xX]$)\s?\p{L}/u.test(plain.slice(last));
    if (new Set(numbers.map(([number]) => Number(number))).size === 1 && !isUnit) [[value]] = numbers;
  }
  if (value === null || leaf.type === "number") return value;
  return Number.isInteger(Number(value)) ? value.replace(/\.0*$/u, "") : null;
}

// -- dates ------------------------------------------------------------------------------------------------------------

const YEAR = "(?<y>(?:1[89]|2[01])\\d\\d)", SHORT = "(?<y>(?:1[89]|2[01])\\d\\d|\\d\\d)";
const NAME = "(?<m>\\p{L}{3,12})", GAP = "[\\s.,/'’\\-]{0,3}";
const FORMS = [
  `${YEAR}(?<s>[\\-/. ])(?<m>\\d{1,2})\\k<s>(?<d>\\d{1,2})`,
  "(?<a>\\d{1,2})(?<s> ?[\\-/.] ?| )(?<b>\\d{1,2})\\k<s>(?<c>\\d{4}|\\d{2})",
  `(?<d>\\d{1,2})(?:st|nd|rd|th|º)?(?:${GAP}(?:of|de)\\s)?${GAP}${NAME}${GAP}(?:de\\s)?${SHORT}`,
  `(?<!${WORD})${NAME}${GAP}(?<d>\\d{1,2})(?:st|nd|rd|th)?[\\s.,/'’\\-]{1,3}${SHORT}`,
  `${YEAR}${GAP}${NAME}${GAP}(?<d>\\d{1,2})`,
  `${YEAR}\\s?年\\s?(?<m>\\d{1,2})\\s?月\\s?(?<d>\\d{1,2})\\s?日`,
  "(?<y>(?:19|20)\\d\\d)(?<m>0[1-9]|1[0-2])(?<d>[0-2]\\d|3[01])",
  "(?<d>[0-2]\\d|3[01])(?<m>0[1-9]|1[0-2])(?<y>(?:19|20)\\d\\d)",
].map((form) => `(?<![\\d.,/\\-])(?:${form})(?![\\d]|[.,/\\-]\\d)`);
const WHOLE_FORMS = FORMS.map((form) => new RegExp(`^(?:${form})$`, "u"));
const FORMS_THERE = FORMS.map((form) => new RegExp(form, "uy"));
/** Forms that can begin with a run of so many digits. @type {Record<number, number[]>} */
const BY_LENGTH = { 1: [1, 2], 2: [1, 2], 4: [0, 4, 5], 8: [6, 7] };
const AROUND = /^[\s([]*(?:\p{L}{2,12}[.,]?\s+)?|[\s)\]]*(?:[T\s,]\s*\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s*[AaPp]\.?[Mm]\.?|Z)?)?[\s)\]]*$/gu;
const MONTH_BEFORE = new RegExp(`(?<!${WORD})\\p{L}{3,12}${GAP}$`, "gu");

/** A day as ISO 8601, null where there is none. @param {string | number} year @param {string | number} month @param {string | number} day */
function isoDay(year, month, day) {
  const full = String(year).length === 4 ? Number(year) : Number(year) + (Number(year) >= 69 ? 1900 : 2000);
  const date = new Date(Date.UTC(full, Number(month) - 1, Number(day)));
  return date.getUTCMonth() + 1 === Number(month) && date.getUTCDate() === Number(day) ? date.toISOString().slice(0, 10) : null;
}

/** Days of a date in digits by each order. @param {Record<string, string>} groups @returns {Record<string, string | null>} */
const orderings = ({ a, b, c }) => ({ DMY: isoDay(c, b, a), MDY: isoDay(c, a, b), ...(c.length === 4 ? {} : { YMD: isoDay(a, b, c) }) });

/** The possible days of a match, the likeliest first. @param {Record<string, string>} groups @param {Leaf} leaf */
function daysOf(groups, { dateOrder, monthFirst, months }) {
  if (groups.a === undefined) {
    const month = /^\d+$/u.test(groups.m) ? groups.m : months[groups.m.toLowerCase()];
    const day = month === undefined ? null : isoDay(groups.y, month, groups.d);
    return day === null ? [] : [day];
  }
  if (groups.c.length !== 4 && groups.s === " ") return [];
  const first = dateOrder || (monthFirst ? "MDY" : "DMY"), days = orderings(groups);
  const ordered = [first, ...["DMY", "MDY", "YMD"].filter((order) => order !== first)].map((order) => days[order]);
  return [...new Set(ordered.filter((day) => typeof day === "string"))];
}

/** Possible days of a text that is only a date. @param {string} text @param {Leaf} leaf */
function readings(text, leaf) {
  if (text.length > 60) return [];
  for (const candidate of [text.trim(), text.replace(AROUND, "")]) {
    for (const form of WHOLE_FORMS) {
      const groups = form.exec(candidate)?.groups;
      const days = groups ? daysOf(groups, leaf) : [];
      if (days.length) return days;
    }
  }
  return [];
}

/** Every date in a text: its text and days. @param {string} text @param {Leaf} leaf @returns {[string, string[]][]} */
function scanDates(text, leaf) {
  /** @type {Map<string, [string, string[]]>} */
  const dates = new Map();
  for (const { index, 0: digits } of text.matchAll(/\d+/gu)) {
    MONTH_BEFORE.lastIndex = Math.max(0, index - 16);
    const month = MONTH_BEFORE.exec(text.slice(0, index));
    const starts = (BY_LENGTH[digits.length] ?? []).map((form) => [form, index]);
    for (const [form, at] of month ? [...starts, [3, month.index]] : starts) {
      FORMS_THERE[form].lastIndex = at;
      const match = FORMS_THERE[form].exec(text);
      const days = match?.groups ? daysOf(match.groups, leaf) : [];
      const key = `${at}-${match?.[0].length}`;
      if (match && days.length && !dates.has(key)) dates.set(key, [match[0], leaf.dateOrder ? days.slice(0, 1) : days]);
    }
  }
  return [...dates.values()];
}

/** The order in which a text writes its dates in digits; "" if none shows it, or they differ. @param {string} text @param {Leaf} leaf */
function orderOf(text, leaf) {
  const orders = new Set();
  for (const [date, days] of scanDates(text, { ...leaf, dateOrder: "", monthFirst: false })) {
    const groups = days.length === 1 ? WHOLE_FORMS[1].exec(date)?.groups : undefined;
    const possible = groups ? Object.entries(orderings(groups)).filter(([, day]) => day) : [];
    if (possible.length === 1) orders.add(possible[0][0]);
  }
  return orders.size === 1 ? [...orders][0] : "";
}

/** The possible days of a text, several if it is ambiguous. @param {string} text @param {Leaf} leaf @param {string} document */
function unambiguous(text, leaf, document) {
  const days = readings(text, leaf);
  if (days.length < 2 || leaf.dateOrder || leaf.hasLocale) return days.slice(0, 1);
  const order = orderOf(document, leaf) || (/\d ?\. ?\d/u.test(text) ? "DMY" : "");
  return order ? readings(text, { ...leaf, dateOrder: order }).slice(0, 1) : days;
}

/** @param {string} plain @param {Leaf} leaf @param {string} document */
function dateOf(plain, leaf, document) {
  let days = unambiguous(plain, leaf, document);
  if (!days.length && plain.length <= 200) {
    const hits = new Map(scanDates(plain, leaf).map(([date]) => unambiguous(date, leaf, document)).map((hit) => [hit.join(), hit]));
    days = hits.size === 1 ? [...hits.values()][0] : [];
  }
  return days.length === 1 ? days[0] : null;
}

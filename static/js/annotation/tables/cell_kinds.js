// What the text of a cell is: a number, a code, a date, words. Pure.

const SPACE = " \u00a0\u202f\u2009";
const CORE = `\\p{Nd}{1,3}(?:[${SPACE}]\\p{Nd}{3})+(?:[.,]\\p{Nd}+)?|[.,]?\\p{Nd}[\\p{Nd}.,'’٫٬]*`;
const CODES =
  "USD|EUR|GBP|CHF|JPY|CNY|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RON|BGN|INR|MYR|SGD|HKD|KRW|THB|IDR|PHP|VND|BRL|MXN|TRY|ZAR|ILS|AED|SAR|RUB|UAH|RM|Rs\\.?|kr\\.?|zł|Kč|Fr\\.?";
const MONEY = `(?:[A-Z]{0,2}\\p{Sc}|(?:${CODES})(?!\\p{L}))`;
/** A number with its sign, currency or percent sign. */
export const NUMBER = `\\(?[-−–+]?(?:${MONEY}(?:\\s[-−–+]?|(?<!\\p{L})[-−–+])?)?(?:${CORE})(?:[.,]?[-−–])?(?:\\s?(?:${MONEY}|%))?\\)?`;

const IS_NUMBER = new RegExp(`^(?:${NUMBER})$`, "u");
const IS_AMOUNT = new RegExp(`^(?:${NUMBER})\\s\\p{L}\\S*(?:\\s\\S+)?$`, "u");
const IS_INTEGER = /^[-−+]?\p{Nd}+$/u;
const IS_MONEY = new RegExp(`${MONEY}|[.,]\\p{Nd}{2}\\)?[-−]?$|[.,][-−–]{1,2}$`, "u");
const MONTH = "\\p{L}{3,10}\\.?";
const IS_DATE = new RegExp(
  `^(?:\\d{4}[-/.]\\d{1,2}[-/.]\\d{1,2}|\\d{1,2}([-/.])\\s?\\d{1,2}\\1\\s?(?:\\d{4}|\\d{2})|\\d{1,2}\\.?[ -]${MONTH}[ -]\\d{2,4}|${MONTH} \\d{1,2},? \\d{4})$`, "u");
const IS_CODE = /^(?=\S*\p{Nd})[\p{L}\p{Nd}][\p{L}\p{Nd}\-_/.#:+]*$/u;

/** @typedef {"number" | "amount" | "date" | "code" | "word" | "text"} CellKind `amount`: a number and a word or two, as "60 pot" */

/** @param {string} text */
export const isNumber = (text) => IS_NUMBER.test(text);

/** @param {string} text */
export const isInteger = (text) => IS_INTEGER.test(text);

/** @param {string} text */
export const isDate = (text) => IS_DATE.test(text);

/** Whether a number is written as an amount of money. @param {string} text */
export const isMoney = (text) => isNumber(text) && IS_MONEY.test(text);

/** One word with a digit, such as an article number. @param {string} text */
export const isCode = (text) => IS_CODE.test(text) && !isDate(text);

/** @param {string} text @returns {CellKind} */
export function kindOf(text) {
  if (isDate(text)) return "date";
  if (isNumber(text)) return "number";
  if (IS_AMOUNT.test(text)) return "amount";
  if (/\s/u.test(text)) return "text";
  return isCode(text) ? "code" : "word";
}

/** The value of a number, whatever its decimal mark; NaN where there is none. @param {string} text */
export function valueOf(text) {
  const digits = /[\d.,'’\s]*\d/u.exec(text)?.[0].replace(/[\s'’]/gu, "") ?? "";
  const mark = Math.max(digits.lastIndexOf("."), digits.lastIndexOf(","));
  const isDecimal = mark >= 0 && (digits.length - mark !== 4 || digits[mark] !== "," || digits.includes("."));
  const [whole, part] = isDecimal ? [digits.slice(0, mark), digits.slice(mark + 1)] : [digits, ""];
  return Number(`${whole.replace(/[.,]/gu, "")}.${part || 0}`);
}

/** The words of a name, without case, accents and marks. @param {string} text */
export function wordsOf(text) {
  const plain = text.replace(/(\p{Ll})(\p{Lu})/gu, "$1 $2").normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return plain.match(/[\p{L}\p{Nd}]+|#|%/gu) ?? [];
}

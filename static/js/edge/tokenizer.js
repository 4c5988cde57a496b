// The tokens of a text and their places, as the library tokenizers gives them: WordPiece and byte-level BPE.

/** @typedef {{ id: number, start: number, end: number }} Token `start` and `end`: in characters (code points) of the text */
/**
 * A text whose units come from characters `from` to `to` of the document.
 * @typedef {{ text: string, from: number[], to: number[] }} Piece
 */

const CHINESE = /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/u;
const BERT_WORD = /[!-/:-@[-`{-~]|\p{P}|[^\s!-/:-@[-`{-~\p{P}]+/gu;
const BYTE_LEVEL_WORD = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
/** What each step before the model makes of a text. @type {Record<string, RegExp>} */
const WORDS = { BertPreTokenizer: BERT_WORD, ByteLevel: BYTE_LEVEL_WORD, Digit: /\p{N}|\P{N}+/gu, Digits: /\p{N}+|\P{N}+/gu };

/** The letter that stands for each byte in a byte-level vocabulary. */
const LETTERS = byteLetters();

function byteLetters() {
  const letters = [];
  for (let byte = 0, more = 256; byte < 256; byte++) {
    const isPrinted = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    letters.push(String.fromCharCode(isPrinted ? byte : more++));
  }
  return letters;
}

/** @param {Piece} piece @param {number} start @param {number} end @returns {Piece} */
const part = ({ text, from, to }, start, end) => ({ text: text.slice(start, end), from: from.slice(start, end), to: to.slice(start, end) });

/** @param {Piece} piece @param {RegExp} pattern */
const matches = (piece, pattern) => [...piece.text.matchAll(pattern)].map((match) => part(piece, match.index, match.index + match[0].length));

/** The description is that of tokenizer.json, of a kind that the build of the bundle has checked. */
export class Tokenizer {
  /** @param {Record<string, any>} description */
  constructor(description) {
    this.normalizer = description.normalizer;
    this.model = description.model;
    this.vocabulary = new Map(Object.entries(this.model.vocab));
    const steps = description.pre_tokenizer.pretokenizers ?? [description.pre_tokenizer];
    /** @type {string[]} */
    this.steps = steps.map((/** @type {Record<string, any>} */ step) => (step.individual_digits ? "Digit" : step.type));
    this.isTrimmed = description.post_processor?.trim_offsets === true;
    /** @type {Map<string, number>} */
    this.ranks = new Map((this.model.merges ?? []).map((/** @type {any} */ pair, /** @type {number} */ rank) => [typeof pair === "string" ? pair : pair.join(" "), rank]));
    /** @type {{ content: string, id: number, normalized: boolean, lstrip: boolean, rstrip: boolean }[]} */
    this.added = description.added_tokens;
  }

  /** @param {string} text @returns {Token[]} */
  encode(text) {
    /** @type {Piece} */
    const whole = { text, from: [], to: [] };
    let number = 0;
    for (const letter of text) {
      whole.from.push(...Array(letter.length).fill(number));
      whole.to.push(...Array(letter.length).fill(number + 1));
      number += 1;
    }
    return this.#around(whole, false, (raw) =>
      this.#around(this.#normalized(raw), true, (piece) => this.#words(piece).flatMap((word) => this.#tokens(word))));
  }

  /**
   * The added tokens of a piece, and what `inside` makes of the text between them.
   * @param {Piece} piece @param {boolean} normalized which of the added tokens @param {(piece: Piece) => Token[]} inside
   */
  #around(piece, normalized, inside) {
    const added = this.added.filter((token) => token.normalized === normalized).sort((a, b) => b.content.length - a.content.length);
    if (!added.length) return inside(piece);
    const sources = added.map(({ content, lstrip, rstrip }) =>
      `(${lstrip ? "\\s*" : ""}${content.replace(/[$()*+.?[\\\]^{|}/-]/gu, "\\$&")}${rstrip ? "\\s*" : ""})`);
    const tokens = [];
    let at = 0;
    for (const match of piece.text.matchAll(new RegExp(sources.join("|"), "gu"))) {
      if (match.index > at) tokens.push(...inside(part(piece, at, match.index)));
      at = match.index + match[0].length;
      tokens.push(token(added[match.slice(1).findIndex((found) => found !== undefined)].id, part(piece, match.index, at)));
    }
    if (at < piece.text.length) tokens.push(...inside(part(piece, at, piece.text.length)));
    return tokens;
  }

  /** @param {Piece} piece @returns {Piece} */
  #normalized(piece) {
    const { type, clean_text: clean, handle_chinese_chars: chinese, lowercase, strip_accents: strip } = this.normalizer ?? {};
    if (!type) return piece;
    /** @type {Piece} */
    const made = { text: "", from: [], to: [] };
    // A letter with its marks: composed together, and otherwise changed letter by letter.
    const parts = piece.text.match(type === "NFC" ? /\P{M}\p{M}*|\p{M}+/gu : /./gsu) ?? [];
    let at = 0;
    for (const letter of parts) {
      let changed = letter;
      if (type === "NFC") changed = letter.normalize("NFC");
      else {
        if (clean) changed = /[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/u.test(letter) ? "" : letter.replace(/\s/u, " ");
        if (chinese && CHINESE.test(changed)) changed = ` ${changed} `;
        if (strip ?? lowercase) changed = changed.normalize("NFD").replace(/\p{Mn}/gu, "");
        if (lowercase) changed = changed.toLowerCase();
      }
      made.text += changed;
      const before = [...letter], after = [...changed];
      for (const [number, code] of after.entries()) {
        // Of a letter composed with some of its marks, the marks that are left have the last places.
        const origin = number && type === "NFC" ? Math.max(0, before.length - after.length + number) : 0;
        const unit = at + before.slice(0, origin).join("").length;
        for (let half = 0; half < code.length; half++) {
          made.from.push(piece.from[unit]);
          made.to.push(piece.to[unit]);
        }
      }
      at += letter.length;
    }
    return made;
  }

  /** @param {Piece} piece @returns {Piece[]} */
  #words(piece) {
    return this.steps.reduce((pieces, step) => pieces.flatMap((inner) => matches(inner, WORDS[step])), [piece]);
  }

  /** @param {Piece} word */
  #tokens(word) {
    return this.model.type === "WordPiece" ? this.#wordPieces(word) : this.#bytePairs(word);
  }

  /** The longest parts in the vocabulary, from the left. @param {Piece} word @returns {Token[]} */
  #wordPieces(word) {
    const unknown = [token(this.vocabulary.get(this.model.unk_token), word)];
    if ([...word.text].length > this.model.max_input_chars_per_word) return unknown;
    const tokens = [];
    for (let start = 0, end; start < word.text.length; start = end) {
      const prefix = start ? this.model.continuing_subword_prefix : "";
      end = word.text.length;
      while (end > start && !this.vocabulary.has(prefix + word.text.slice(start, end))) end -= 1;
      if (end === start) return unknown;
      tokens.push(token(this.vocabulary.get(prefix + word.text.slice(start, end)), part(word, start, end)));
    }
    return tokens;
  }

  /** The bytes of a word, joined by the rank of each pair. @param {Piece} word @returns {Token[]} */
  #bytePairs(word) {
    /** @type {{ text: string, from: number, to: number }[]} */
    let symbols = [];
    let at = 0;
    for (const letter of word.text) {
      const place = { from: word.from[at], to: word.to[at] };
      symbols.push(...[...new TextEncoder().encode(letter)].map((byte) => ({ text: LETTERS[byte], ...place })));
      at += letter.length;
    }
    const joined = symbols.map((symbol) => symbol.text).join("");
    if (this.model.ignore_merges && this.vocabulary.has(joined)) symbols = [{ text: joined, from: symbols[0].from, to: symbols[symbols.length - 1].to }];
    for (;;) {
      let best = -1, lowest = Infinity;
      for (let left = 0; left + 1 < symbols.length; left++) {
        const rank = this.ranks.get(`${symbols[left].text} ${symbols[left + 1].text}`) ?? Infinity;
        if (rank < lowest) [best, lowest] = [left, rank];
      }
      if (best < 0) break;
      const [left, right] = symbols.slice(best, best + 2);
      symbols.splice(best, 2, { text: left.text + right.text, from: left.from, to: right.to });
    }
    return symbols.map(({ text, from, to }) => {
      const blanks = this.isTrimmed ? (/^Ġ*/u.exec(text)?.[0].length ?? 0) : 0;
      const id = this.vocabulary.get(text) ?? this.vocabulary.get(this.model.unk_token);
      return { id, start: Math.min(from + blanks, to), end: to };
    });
  }
}

/** @param {number} id @param {Piece} piece @returns {Token} */
const token = (id, { from, to }) => ({ id, start: from[0], end: to[to.length - 1] });

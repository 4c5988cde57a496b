// The file contract.json of a bundle, and what a model answers.

import { Validator } from "@cfworker/json-schema";

/** @typedef {string | number | boolean | null | undefined | Json[] | { [name: string]: Json }} Json */
/**
 * @typedef {object} Answer
 * @property {Json} output
 * @property {string} text the output as JSON
 * @property {Record<string, number>} confidence path -> probability of its value
 * @property {string[]} problems what the schema says against it
 */
/** @typedef {{ answer: (text: string) => Promise<Answer> }} Model */
/**
 * @typedef {object} PromptTemplate
 * @property {number | null} first the token before the text, if there is one
 * @property {string} start the text of this token; "" where no text gives it
 * @property {string} prefix
 * @property {string} suffix
 * @property {boolean} strip whether blanks around the document are left out
 * @property {string[]} special tokens that a document must not contain
 */
/**
 * @typedef {object} Decoder
 * @property {"decoder"} family
 * @property {Record<string, any>} schema
 * @property {string} model
 * @property {PromptTemplate} prompt
 * @property {string} grammar "" without one
 * @property {number} context tokens of prompt and output
 * @property {number} reserved tokens of the context that are kept for the output
 * @property {number} maximum tokens of an output
 * @property {number} seed
 */
/**
 * A place of the schema.
 * @typedef {{ shape: string, pattern: string, required: boolean, nullable: boolean, children: Record<string, Node> }} Node
 */
/**
 * @typedef {object} Head
 * @property {"span" | "decision" | "tags" | "rows"} kind
 * @property {string} pattern
 * @property {number} number among the heads with the same outputs
 * @property {import("./values.js").Leaf | null} leaf
 * @property {string} typeName the field of the class of a tagged text; "" where there is none
 * @property {Json[]} classes
 * @property {boolean} several
 * @property {boolean} hasNumbers whether values that it points at are numbers or dates
 * @property {boolean} isGlued whether stretches may begin or end inside a word
 * @property {Head[]} columns of rows, their spans
 * @property {Head[]} choices of rows, decisions at the first token of a row
 * @property {Node | null} item
 */
/**
 * @typedef {object} Encoder
 * @property {"encoder"} family
 * @property {Record<string, any>} schema
 * @property {Node} tree
 * @property {string} model
 * @property {string} tokenizer
 * @property {number} window tokens of a window
 * @property {number | null} lineBreak the token between lines, if there is one
 * @property {number[]} before special tokens before a text
 * @property {number[]} after
 * @property {Head[]} heads
 * @property {Record<string, import("./values.js").Spelling>} spelling
 * @property {Record<string, Json>} usual values of required fields that have no prediction
 */

/** What the schema says against a value, a sentence each. @param {Record<string, any>} schema @param {Json} value */
export function problemsOf(schema, value) {
  const { errors } = new Validator(/** @type {any} */ (schema), "2020-12", false).validate(value);
  return errors.map(({ instanceLocation, error }) => `${instanceLocation}: ${error}`);
}

// A field on the page. What it knows is read from the schema at each use, so it stays true after a change.

/** @import { Json, Members, Steps } from "./json_tree.js" */
/** @import { Ancestor } from "./changes.js" */
/** @import { Field } from "./fields.js" */

import { fieldsOwner, placeOf, propertiesOf, typeOf } from "./fields.js";

const MAX_DEPTH = 8;

export class Row {
  /** @param {Members} tree @param {Field} field @param {Row | null} outer the row that it is inside of */
  constructor(tree, field, outer) {
    this.tree = tree;
    this.field = field;
    this.outer = outer;
  }

  /** Its schema. @returns {Json} */
  get value() {
    return propertiesOf(this.field.owner).get(this.field.name) ?? null;
  }

  get place() {
    return placeOf(this.tree, this.value);
  }

  get type() {
    return typeOf(this.tree, this.place);
  }

  /** Names from the top; null: each row of a table. @returns {(string | null)[]} */
  get steps() {
    return [...insideSteps(this.outer), this.field.name];
  }

  get key() {
    return JSON.stringify(this.steps);
  }

  /** The key of another field of the same object. @param {string} name */
  keyOf(name) {
    return JSON.stringify([...insideSteps(this.outer), name]);
  }

  /** Where its schema is in the JSON, unless a definition around it is elsewhere. @returns {Steps} */
  get jsonSteps() {
    const { outer } = this;
    const base = outer ? [...outer.jsonSteps, ...(outer.type === "table" ? ["items"] : [])] : [];
    return [...base, "properties", this.field.name];
  }

  /** The objects around it, the innermost first. @returns {Ancestor[]} */
  get ancestors() {
    /** @type {Ancestor[]} */
    const found = [{ owner: this.field.owner, steps: [] }];
    /** @type {(string | null)[]} */
    let steps = [];
    for (let around = this.outer; around; around = around.outer) {
      steps = [around.field.name, ...(around.type === "table" ? [null] : []), ...steps];
      found.push({ owner: around.field.owner, steps });
    }
    return found;
  }

  /** The object whose fields it shows; null where a definition would show itself. @returns {Members | null} */
  get inside() {
    const inside = this.steps.length < MAX_DEPTH ? fieldsOwner(this.tree, this.place) : null;
    for (let around = this.outer; around; around = around.outer) if (around.field.owner === inside) return null;
    return inside === this.field.owner ? null : inside;
  }
}

/** The steps to the fields inside a row, or to those at the top. @param {Row | null} row @returns {(string | null)[]} */
export const insideSteps = (row) => (row ? [...row.steps, ...(row.type === "table" ? [null] : [])] : []);

// A field on the page. What it knows is read from the schema at each use, so it stays true after a change.

/** @import { Json, Members, Steps } from "./json_tree.js" */
/** @import { Ancestor } from "./changes.js" */
/** @import { Body, Field } from "./fields.js" */

import { bodiesOf, placeOf, propertiesOf, typeOf } from "./fields.js";

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

  /** The part of the row around it that it is in. @returns {Body | null} */
  get body() {
    return this.outer?.bodyOf(this.field.owner) ?? null;
  }

  /** Names from the top; null: each row of a table. @returns {(string | null)[]} */
  get steps() {
    return [...(this.outer?.steps ?? []), ...(this.body?.path ?? []), this.field.name];
  }

  get key() {
    return JSON.stringify(this.jsonSteps);
  }

  /** The key of another field of the same object. @param {string} name */
  keyOf(name) {
    return keyIn(this.outer, this.field.owner, name);
  }

  /** Where its schema is in the JSON, unless a definition around it is elsewhere. @returns {Steps} */
  get jsonSteps() {
    return [...jsonStepsIn(this.outer, this.field.owner), "properties", this.field.name];
  }

  /** The objects around it, the innermost first. @returns {Ancestor[]} */
  get ancestors() {
    /** @type {Ancestor[]} */
    const found = [{ owner: this.field.owner, steps: [] }];
    /** @type {(string | null)[]} */
    let steps = [];
    for (let { body, outer: around } = /** @type {Row} */ (this); around; { body, outer: around } = around) {
      steps = [around.field.name, ...(body?.path ?? []), ...steps];
      found.push({ owner: around.field.owner, steps });
    }
    return found;
  }

  /** The objects whose fields it shows; none where a definition would show itself. @returns {Body[]} */
  get bodies() {
    const around = [this.field.owner];
    for (let row = this.outer; row; row = row.outer) around.push(row.field.owner);
    return around.length < MAX_DEPTH ? bodiesOf(this.tree, this.place).filter(({ owner }) => !around.includes(owner)) : [];
  }

  /** Whether its definition is shown around it already. */
  get isRecursive() {
    return this.place?.holder.get("$ref") === "#" || (!this.bodies.length && bodiesOf(this.tree, this.place).length > 0);
  }

  /** @param {Members} owner */
  bodyOf(owner) {
    return bodiesOf(this.tree, this.place).find((body) => body.owner === owner) ?? null;
  }

  /** The only object whose fields it shows. @returns {Members | null} */
  get inside() {
    const [body, ...more] = this.bodies;
    return body && !more.length ? body.owner : null;
  }
}

/** Where an object is in the JSON. @param {Row | null} outer @param {Members} owner an object inside it @returns {Steps} */
export const jsonStepsIn = (outer, owner) => (outer ? [...outer.jsonSteps, ...(outer.bodyOf(owner)?.steps ?? [])] : []);

/** The key of the row of a field. @param {Row | null} outer @param {Members} owner @param {string} name */
export const keyIn = (outer, owner, name) => JSON.stringify([...jsonStepsIn(outer, owner), "properties", name]);

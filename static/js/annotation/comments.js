// The comments drawer: what people say about the document and its fields.

/** @import { ByPath, CommentList, DocumentState } from "./types" */
/** @import { Form } from "./form.js" */
/** @import { Mentions } from "./mentions.js" */

import { $, find, make } from "../site/dom.js";
import { get, messageOf, post } from "../site/http.js";

export class Comments {
  /** Comments that were typed and not sent, by document. @type {Map<number, string>} */
  #unsent = new Map();
  #isSending = false;

  /** @param {{ form: Form, current: () => DocumentState, focusedPath: () => string | null }} options */
  constructor({ form, current, focusedPath }) {
    this.form = form;
    this.current = current;
    this.focusedPath = focusedPath;
    this.document = /** @type {DocumentState} */ (/** @type {unknown} */ (null)); // the one that the drawer is about; set by show
    this.mentions = /** @type {Mentions | null} */ (null); // loaded when the drawer opens first
    $("comments-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    $("comments-dialog").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.#send();
      }
    });
    $("comments-dialog").addEventListener("close", () => this.#unsent.set(this.document.id, $("comment-text").value));
    $("comments-list").addEventListener("click", (event) => this.#clicked(event.target));
    $("comment-button").addEventListener("click", () => this.show());
  }

  /** @param {DocumentState} state */
  opened(state) {
    this.#drawCounts(state.comments, state.commented);
  }

  /** @param {number} count @param {ByPath<number>} commented open comments of each field */
  #drawCounts(count, commented) {
    $("comment-count").textContent = String(count);
    $("comment-count").hidden = !count;
    const counts = new Map(Object.entries(commented).filter(([path]) => path).map(([path, number]) => [this.form.find(path).node, number]));
    for (const node of this.form.root.querySelectorAll("[data-commented]")) if (!counts.has(node)) delete node.dataset.commented;
    for (const [node, number] of counts) node.dataset.commented = String(number);
  }

  async show() {
    this.document = this.current();
    this.#listFields(this.focusedPath());
    $("comment-text").value = this.#unsent.get(this.document.id) ?? "";
    $("comment-error").hidden = true;
    $("comments-list").replaceChildren(make("p", { className: "quiet", textContent: "Loading…" }));
    $("comments-dialog").showModal();
    $("comment-text").focus();
    try {
      const [response, { Mentions }] = await Promise.all([get(this.document.urls.comments), import("./mentions.js")]);
      this.mentions ??= new Mentions($("comment-text"), $("mention-list"));
      this.#draw(await response.json());
    } catch (error) {
      $("comments-list").replaceChildren(make("p", { className: "field-error", textContent: messageOf(error) }));
    }
  }

  /**
   * Lists what a comment can be about: the document and its fields, of rows only the cell with the focus.
   * @param {string | null} focused
   */
  #listFields(focused) {
    const options = [new Option("the document", "")];
    for (const leaf of this.form.root.querySelectorAll('[data-node="leaf"], [data-node="checks"]')) {
      const path = this.form.pathOf(leaf);
      const row = leaf.closest("[data-item]");
      if (row && path !== focused) continue;
      let { title = "" } = leaf.dataset;
      if (row) {
        const rows = row.closest('[data-node="table"], [data-node="list"]')?.dataset.title;
        title = `${rows}, row ${find(row, "[data-number]").textContent?.trim()}: ${title || "value"}`;
      }
      options.push(new Option(title, path, false, path === focused));
    }
    $("comment-about").replaceChildren(...options);
  }

  /** @param {CommentList} list */
  #draw({ html, count, commented, members }) {
    // HTML of this server, in which the comments are escaped.
    $("comments-list").innerHTML = html;
    if (this.mentions) this.mentions.members = members;
    if (this.document === this.current()) this.#drawCounts(count, commented);
  }

  async #send() {
    const box = $("comment-text");
    this.mentions?.finish();
    const text = box.value.trim();
    if (!text || this.#isSending) return;
    const about = this.document;
    // What is typed from now on is the next comment.
    box.value = "";
    box.focus();
    const isSent = await this.#try(async () => {
      this.#draw(await post(about.urls.comments, { path: $("comment-about").value, text }));
      $("comments-list").scrollTop = 0;
    });
    if (isSent) return;
    const withLater = (/** @type {string | undefined} */ later) => [text, later].filter(Boolean).join("\n");
    if ($("comments-dialog").open && about === this.document) box.value = withLater(box.value);
    else this.#unsent.set(about.id, withLater(this.#unsent.get(about.id)));
  }

  /** @param {() => Promise<void>} action @returns {Promise<boolean>} whether it succeeded */
  async #try(action) {
    this.#isSending = true;
    $("comment-error").hidden = true;
    try {
      await action();
      return true;
    } catch (error) {
      $("comment-error").textContent = `${messageOf(error)} Your comment is still here.`;
      $("comment-error").hidden = false;
      return false;
    } finally {
      this.#isSending = false;
    }
  }

  /** @param {Element} target */
  #clicked(target) {
    const id = target.closest("[data-resolve]")?.dataset.resolve;
    if (id !== undefined) {
      this.#try(async () => this.#draw(await post(this.document.urls.resolve, { comment: Number(id) })));
      $("comment-text").focus();
    }
    const path = target.closest("[data-comment-path]")?.dataset.commentPath;
    if (path === undefined) return;
    $("comments-dialog").close();
    this.form.focus(path);
  }
}

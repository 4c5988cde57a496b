// The history drawer: who changed what, and going back to a revision.

/** @import { DocumentState, SaveResponse } from "./types" */

import { $, make } from "../site/dom.js";
import { get, messageOf, post } from "../site/http.js";

/** @param {unknown} error */
const errorLine = (error) => make("p", { className: "field-error", textContent: messageOf(error) });

export class History {
  /**
   * @param {object} options
   * @param {() => DocumentState} options.current
   * @param {() => number} options.version
   * @param {() => Promise<boolean>} options.save resolves to whether everything is saved
   * @param {(response: SaveResponse) => void} options.restored
   */
  constructor({ current, version, save, restored }) {
    this.current = current;
    this.version = version;
    this.save = save;
    this.restored = restored;
    $("history-button").addEventListener("click", () => this.show());
    $("history-list").addEventListener("click", (event) => {
      const revision = event.target.closest("[data-restore]")?.dataset.restore;
      if (revision !== undefined) this.#restore(Number(revision));
    });
  }

  async show() {
    $("history-list").replaceChildren(make("p", { className: "quiet", textContent: "Loading…" }));
    $("history-dialog").showModal();
    try {
      await this.save();
      $("history-list").innerHTML = await (await get(this.current().urls.history)).text();
    } catch (error) {
      $("history-list").replaceChildren(errorLine(error));
    }
  }

  /** @param {number} revision */
  async #restore(revision) {
    try {
      if (!(await this.save())) throw new Error("Your changes cannot be saved now, so nothing was restored.");
      const { urls, prediction } = this.current();
      /** @type {SaveResponse} */
      const response = await post(urls.restore, { revision, base_version: this.version(), prediction: prediction?.id ?? null });
      $("history-dialog").close();
      this.restored(response);
    } catch (error) {
      $("history-list").prepend(errorLine(error));
    }
  }
}

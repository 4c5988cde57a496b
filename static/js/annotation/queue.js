// The queue: the next document is fetched while the current one is labeled, so that submitting opens it at once.

/** @import { DocumentState, NextDocument } from "./types" */
/** @import { TimeTracker } from "./time_tracker.js" */

import { $ } from "../site/dom.js";
import { headers, post, request } from "../site/http.js";

const PRESENCE_MS = 10_000; // between reports that this tab shows the document, which keep its lock (labeling/annotation/presence.py)
const TAB = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
const FRESH_MS = 7 * 60_000; // for which a prefetched document stays locked for this user
const PREFETCH_AFTER_MS = 600;

/** @param {string} url @param {RequestInit} [options] */
function release(url, options) {
  fetch(url, { method: "POST", headers: headers(), ...options }).catch(() => {});
}

export class Queue {
  /** @type {DocumentState | null} */
  #current = null;
  /** @type {{ at: number, from: DocumentState, response: Promise<NextDocument> } | null} */
  #prefetched = null;
  /** The release URL of the prefetched document. @type {string | null} */
  #reserved = null;
  #isReturning = false;

  /**
   * @param {HTMLElement} page @param {TimeTracker} timeTracker
   * @param {(names: string) => void} showOthers gets the names of others with this document open
   */
  constructor(page, timeTracker, showOthers) {
    this.page = page;
    this.timeTracker = timeTracker;
    this.showOthers = showOthers;
    setInterval(() => this.#drawTimer(), 1000);
    setInterval(() => document.visibilityState === "visible" && this.#reportPresence(), PRESENCE_MS);
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#reportPresence());
    window.addEventListener("pagehide", () => {
      if (this.#reserved) release(this.#reserved, { keepalive: true });
      if (this.#current) this.#report(this.#current, { leaving: true }, { keepalive: true }).catch(() => {});
    });
  }

  /** @param {DocumentState} state */
  opened(state) {
    if (this.#current) {
      const { state: left, urls } = this.#current;
      if (left === "new") release(urls.release);
      // Going back leads further back the next time, not to the document just left.
      if (!this.#isReturning) this.#visited = [...this.#visited.filter((url) => url !== urls.document), urls.document].slice(-50);
    }
    this.#isReturning = false;
    this.#current = state;
    this.#drawTimer();
    // Until the server answers, the queue shows the place of the document before.
    $("strip").toggleAttribute("data-stale", true);
    this.showOthers("");
    this.#reportPresence();
    this.#prefetched = null;
    if (this.#reserved && this.#reserved !== state.urls.release) release(this.#reserved);
    this.#reserved = null;
    setTimeout(() => this.#current === state && this.#prefetch(state), PREFETCH_AFTER_MS);
  }

  /** @returns {string[]} */
  get #visited() {
    return JSON.parse(sessionStorage.getItem("label-visited") ?? "[]");
  }

  set #visited(urls) {
    sessionStorage.setItem("label-visited", JSON.stringify(urls));
  }

  /** @param {DocumentState} current */
  #prefetch(current) {
    this.#prefetched ??= { at: Date.now(), from: current, response: post(this.page.dataset.nextUrl ?? "", { after: current.id }) };
    const { response } = this.#prefetched;
    response.then((state) => this.#prepare(state)).catch(() => (this.#prefetched = null));
    return response;
  }

  /** Loads the image of the first page. @param {NextDocument} state */
  #prepare(state) {
    if (!("id" in state)) return;
    if (this.#current?.id !== state.id) this.#reserved = state.urls.release;
    const url = state.pages[0]?.url;
    if (url) new Image().src = url;
  }

  /** The next document; null where the page of an empty queue is opened. @returns {Promise<DocumentState | null>} */
  async next() {
    const current = /** @type {DocumentState} */ (this.#current);
    if (this.#prefetched && (this.#prefetched.from !== current || Date.now() - this.#prefetched.at > FRESH_MS)) this.#prefetched = null;
    let response = await this.#prefetch(current);
    if (response.done) {
      // A document may have come back since.
      this.#prefetched = null;
      response = await this.#prefetch(current);
    }
    if (!response.done) return response;
    location.assign(response.url);
    return null;
  }

  /** The document seen before this one, else the one before it in the project. @returns {Promise<DocumentState>} */
  async previous() {
    const current = /** @type {DocumentState} */ (this.#current);
    const visited = this.#visited.filter((seen) => seen !== current.urls.document);
    const url = visited.pop();
    const response = url && (await request(`${url}state/`));
    this.#visited = visited;
    /** @type {NextDocument} */
    const state = response && response.ok && !response.redirected ? await response.json() : await post(this.page.dataset.nextUrl ?? "", { before: current.id });
    if (state.done) throw new Error("This is the first document.");
    this.#isReturning = true;
    return state;
  }

  async #reportPresence() {
    const current = this.#current;
    if (!current) return;
    try {
      const response = await this.#report(current);
      if (!response.ok || response.redirected || current !== this.#current) return;
      // HTML of this server: a fragment of this page.
      const strip = $("strip");
      strip.innerHTML = await response.text();
      strip.toggleAttribute("data-stale", false);
      this.showOthers(strip.querySelector("[data-open-by]")?.dataset.openBy ?? "");
    } catch {
      // The saved state says when the server is unreachable.
    }
  }

  /** Tells the server which document this tab shows. @param {DocumentState} state @param {RequestInit} [options] */
  #report(state, more = {}, options = {}) {
    const body = JSON.stringify({ tab: TAB, ...more });
    return fetch(state.urls.presence, { method: "POST", headers: headers(), body, ...options });
  }

  #drawTimer() {
    const { seconds } = this.timeTracker;
    const text = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    if ($("timer").textContent !== text) $("timer").textContent = text;
  }
}

// Which document comes next: fetched while the current one is worked on, so that submitting opens it at once.

import { headers, post, reach } from "./autosave.js";

const HERE_EVERY = 10_000; // ms; shows that the tab is open, which keeps the document with its person
const TAB = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
const FRESH = 7 * 60_000; // ms for which a document fetched ahead is still held for this person
const PREFETCH_AFTER = 600; // ms

export class Queue {
  // `others` gets the names of other people who have the same document open, "" for nobody.
  constructor(page, clock, others) {
    Object.assign(this, { page, clock, others });
    this.ahead = null;
    this.returning = false;
    this.timer = document.getElementById("timer");
    setInterval(() => this.drawTimer(), 1000);
    setInterval(() => document.visibilityState === "visible" && this.here(), HERE_EVERY);
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.here());
    // The one fetched ahead is free for others when the tab goes away.
    window.addEventListener("pagehide", () => {
      if (this.held) fetch(this.held, { method: "POST", headers: headers(), keepalive: true }).catch(() => {});
      if (this.current) this.report({ leaving: true }, { keepalive: true }).catch(() => {});
    });
  }

  opened(state) {
    if (this.current) {
      this.leave(this.current);
      const here = this.current.urls.document;
      // Going back leads further back the next time, not to the document just left.
      if (!this.returning) this.visited = [...this.visited.filter((url) => url !== here), here].slice(-50);
    }
    this.returning = false;
    this.current = state;
    this.drawTimer();
    // Until the server has told, the strip says where the person was before.
    document.getElementById("strip").toggleAttribute("data-stale", true);
    this.others("");
    this.here();
    this.ahead = null;
    // The one fetched ahead is not the one that was opened: others may have it.
    if (this.held && this.held !== state.urls.release) fetch(this.held, { method: "POST", headers: headers() }).catch(() => {});
    this.held = null;
    setTimeout(() => this.current === state && this.prefetch(), PREFETCH_AFTER);
  }

  leave(state) {
    if (state.state === "new") fetch(state.urls.release, { method: "POST", headers: headers() }).catch(() => {});
  }

  get visited() {
    return JSON.parse(sessionStorage.getItem("label-visited") ?? "[]");
  }

  set visited(urls) {
    sessionStorage.setItem("label-visited", JSON.stringify(urls));
  }

  prefetch() {
    this.ahead ??= { at: Date.now(), from: this.current, answer: post(this.page.dataset.nextUrl, { after: this.current.id }) };
    this.ahead.answer.then((state) => this.warm(state)).catch(() => (this.ahead = null));
    return this.ahead.answer;
  }

  // The first page's image is there when the document is opened.
  warm(state) {
    if (this.current.id !== state.id) this.held = state.urls?.release ?? null;
    const url = state.pages?.[0]?.url;
    if (url) new Image().src = url;
  }

  // The next document's state, or null where the page that says "nothing is left" is opened.
  async next() {
    if (this.ahead && (this.ahead.from !== this.current || Date.now() - this.ahead.at > FRESH)) this.ahead = null;
    let answer = await this.prefetch();
    if (answer.done) {
      // Perhaps somebody has put one back since this was asked.
      this.ahead = null;
      answer = await this.prefetch();
    }
    if (!answer.done) return answer;
    location.assign(answer.url);
    return null;
  }

  // The document seen before this one, else the one before it in the project.
  async previous() {
    const visited = this.visited.filter((seen) => seen !== this.current.urls.document);
    const url = visited.pop();
    const response = url && (await reach(`${url}state/`));
    this.visited = visited;
    let answer;
    if (response?.ok && !response.redirected) answer = await response.json();
    else answer = await post(this.page.dataset.nextUrl, { before: this.current.id });
    if (answer.done) throw new Error("This is the first document.");
    this.returning = true;
    return answer;
  }

  async here() {
    const { current } = this;
    try {
      const response = await this.report();
      // HTML of our own server: a fragment of this page.
      if (response.ok && !response.redirected && current === this.current) {
        const strip = document.getElementById("strip");
        strip.innerHTML = await response.text();
        strip.toggleAttribute("data-stale", false);
        this.others(strip.querySelector("[data-open-by]")?.dataset.openBy ?? "");
      }
    } catch {
      // The saved state says when the server cannot be reached.
    }
  }

  // Tells the server which document this tab shows.
  report(more = {}, options = {}) {
    const body = JSON.stringify({ tab: TAB, ...more });
    return fetch(this.current.urls.here, { method: "POST", headers: headers(), body, ...options });
  }

  drawTimer() {
    const { seconds } = this.clock;
    const words = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    if (this.timer.textContent !== words) this.timer.textContent = words;
  }
}

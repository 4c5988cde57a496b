// Which document comes next: fetched while the current one is worked on, so that submitting opens it at once.

import { headers, post, reach } from "./label_sync.js";

const HERE_EVERY = 25_000; // ms; shows that the tab is open, which keeps the document with its person
const FRESH = 7 * 60_000; // ms for which a document fetched ahead is still held for this person
const PREFETCH_AFTER = 600; // ms

export class Queue {
  constructor(page, sync) {
    this.page = page;
    this.sync = sync;
    this.ahead = null;
    this.returning = false;
    this.seconds = 0;
    this.timer = document.getElementById("timer");
    this.active = Date.now();
    for (const name of ["keydown", "pointerdown", "pointermove", "wheel"]) {
      document.addEventListener(name, () => (this.active = Date.now()), { passive: true });
    }
    setInterval(() => this.tick(), 1000);
    setInterval(() => document.visibilityState === "visible" && this.here(), HERE_EVERY);
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.here());
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
    this.seconds = 0;
    this.drawTimer();
    this.here();
    this.ahead = null;
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
    this.ahead.answer.catch(() => (this.ahead = null));
    return this.ahead.answer;
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
      const response = await fetch(current.urls.here, { method: "POST", headers: headers() });
      // HTML of our own server: a fragment of this page.
      if (response.ok && !response.redirected && current === this.current) {
        document.getElementById("strip").innerHTML = await response.text();
      }
    } catch {
      // The saved state says when the server cannot be reached.
    }
  }

  tick() {
    if (document.visibilityState !== "visible" || Date.now() - this.active > 60_000) return;
    this.seconds += 1;
    this.sync.seconds += 1;
    this.drawTimer();
  }

  drawTimer() {
    this.timer.textContent = `${Math.floor(this.seconds / 60)}:${String(this.seconds % 60).padStart(2, "0")}`;
  }
}

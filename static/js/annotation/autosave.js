// Saving: a draft within a second of every change, one request at a time, and nothing lost when it fails.
//
// What is not yet saved lies in localStorage too, with the version it was made from. After a failure it is sent again,
// after a crash it is found when the document is opened; the server merges it with whatever was saved meanwhile.

const PAUSE = 300; // ms without a change before a draft is sent
const LONGEST = 900; // ms after the first change at the latest
const RETRIES = [1500, 3000, 6000, 12000, 30000];

export class Sync {
  // `typing()`: the path of the field in which the person types, or null; what a draft holds there is half-typed.
  // `asked()`: the fields without an answer that the person was asked about.
  constructor({ user, clock, collect, typing, asked, answered, stateChanged }) {
    Object.assign(this, { user, clock, collect, typing, asked, answered, stateChanged });
    this.document = null;
    this.running = null;
    this.opened = new Set(); // keys of the documents that were open in this tab
    window.addEventListener("online", () => this.isDirty && this.send());
    window.addEventListener("pagehide", () => this.leave());
  }

  open(state) {
    clearTimeout(this.timer);
    this.document = state;
    this.opened.add(this.key);
    this.version = state.version;
    this.edits = 0;
    this.acknowledged = 0;
    this.settled = null; // what stood in the form when a field was left while a save was under way: sent next
    this.failures = 0;
    this.stuck = "";
    this.savedAt = state.saved_at ? new Date(state.saved_at) : null;
    this.stateChanged();
  }

  get isDirty() {
    return this.edits !== this.acknowledged;
  }

  // Whether something is not saved, or a save is under way.
  get isBusy() {
    return this.isDirty || this.running !== null;
  }

  get key() {
    return `label-${this.user}-${this.document.id}`;
  }

  // Unsaved work of this document that an earlier tab or a failed save left behind.
  leftover() {
    try {
      return JSON.parse(localStorage.getItem(this.key));
    } catch {
      return null;
    }
  }

  change() {
    const now = Date.now();
    if (!this.isDirty) this.firstEdit = now;
    this.edits += 1;
    this.stuck = "";
    this.schedule(Math.max(0, Math.min(PAUSE, this.firstEdit + LONGEST - now)));
    this.stateChanged();
  }

  // A field was left: what stands in the form now is checked, whatever is typed elsewhere before it is sent.
  settle() {
    if (!this.isDirty) return;
    if (this.running) this.settled = { edits: this.edits, content: structuredClone(this.collect()) };
    else this.send();
  }

  schedule(delay) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), delay);
  }

  // Saves now what is not saved, and what is typed meanwhile; resolves to whether everything is.
  async flush() {
    clearTimeout(this.timer);
    if (this.running) await this.running;
    while (this.isDirty) {
      const { status } = await this.send();
      if (status !== 200) break;
    }
    return !this.isDirty;
  }

  async send(submit = false) {
    clearTimeout(this.timer);
    while (this.running) {
      const { answer } = await this.running;
      // What others changed came with the draft before: it is looked at before the label is submitted.
      if (submit && (answer?.merged?.length || answer?.clashes?.length)) return { status: 409, answer };
    }
    if (!submit && !this.isDirty) return { status: 200 };
    this.running = this.request(submit);
    try {
      return await this.running;
    } finally {
      this.running = null;
      if (this.settled) this.schedule(0);
      this.stateChanged();
    }
  }

  async request(submit) {
    const { document } = this;
    const settled = submit ? null : this.settled;
    this.settled = null;
    const edits = settled?.edits ?? this.edits;
    const typing = settled ? null : this.typing();
    this.firstEdit = Date.now();
    const body = this.body(submit, settled?.content);
    this.keep({ ...body, ...this.collect() });
    this.stateChanged();
    const text = JSON.stringify(body);
    let response;
    let answer;
    try {
      response = await fetch(document.urls.save, { method: "POST", headers: headers(), body: text });
      if (response.redirected || response.status >= 500 || [403, 429].includes(response.status)) throw new Refusal(response);
      answer = await response.json();
    } catch (error) {
      this.failed(error);
      return { status: 0 };
    }
    if (document !== this.document) return { status: -1 };
    if (answer.message || answer.syntax) {
      this.stuck = answer.message ?? answer.syntax;
      this.answered({ answer, fresh: edits === this.edits });
      return { status: response.status, answer };
    }
    this.failures = 0;
    this.clock.reported(body);
    this.savedAt = new Date();
    const fresh = edits === this.edits;
    // JSON that was edited further holds nothing of what others changed: it is merged from the old version again.
    if (fresh || body.json === undefined || !answer.merged.length) {
      this.version = answer.version;
      this.acknowledged = edits;
    }
    if (fresh) this.forget();
    else this.schedule(PAUSE);
    // What others changed is no part of what stood in the form before.
    if (answer.merged.length) this.settled = null;
    this.answered({ answer, fresh, edits, typing, sent: JSON.parse(text) });
    return { status: response.status, answer };
  }

  body(submit, content = this.collect()) {
    return {
      ...content,
      base_version: this.version,
      schema: this.document.schema,
      prediction: this.document.prediction?.id ?? null,
      ...this.clock.report(),
      submit,
      ...(submit && { asked: this.asked() }),
    };
  }

  // What was saved by another way than a save of the form, such as going back to an old version.
  accept(answer) {
    clearTimeout(this.timer);
    this.settled = null;
    this.version = answer.version;
    this.acknowledged = this.edits;
    this.savedAt = new Date();
    this.stateChanged();
  }

  failed(error) {
    this.settled = null;
    const wait = RETRIES[Math.min(this.failures, RETRIES.length - 1)];
    this.failures += 1;
    this.ended = error instanceof Refusal && (error.response.redirected || error.response.status === 403);
    // A submit that failed is not repeated by itself, but its value is saved as a draft.
    if (!this.isDirty) this.edits += 1;
    this.schedule(wait);
    this.stateChanged();
  }

  keep(body) {
    try {
      const { name, urls } = this.document;
      localStorage.setItem(this.key, JSON.stringify({ ...body, at: new Date().toISOString(), name, url: urls.document }));
    } catch {
      // Full or forbidden: the retries go on without it.
    }
  }

  forget() {
    localStorage.removeItem(this.key);
  }

  // What is not saved is not wanted any more.
  discard() {
    clearTimeout(this.timer);
    this.settled = null;
    this.acknowledged = this.edits;
    this.forget();
  }

  // The tab goes away: the last changes leave with it, and the document is free for others.
  leave() {
    if (!this.document) return;
    const options = { method: "POST", headers: headers(), keepalive: true };
    if (this.isDirty) {
      const body = this.body(false);
      this.keep(body);
      fetch(this.document.urls.save, { ...options, body: JSON.stringify(body) }).catch(() => {});
    } else if (this.isUntouched) {
      fetch(this.document.urls.release, options).catch(() => {});
    }
  }

  // Nobody has begun to label it: others may have it. What has been begun stays with its person until the lock expires.
  get isUntouched() {
    return this.document.state === "new" && !this.edits;
  }
}

class Refusal extends Error {
  constructor(response) {
    super(String(response.status));
    this.response = response;
  }
}

// The cookie is read each time: a login in another tab renews the token.
export function headers() {
  const token = /(?:^|; )csrftoken=([^;]+)/u.exec(document.cookie)?.[1];
  const drawn = JSON.parse(document.body.getAttribute("hx-headers"))["x-csrftoken"];
  return { "content-type": "application/json", "x-csrftoken": token ?? drawn };
}

// A request whose failure can be told to a person.
export async function reach(url, options) {
  try {
    return await fetch(url, options);
  } catch {
    throw new Error("The server does not answer. Try again in a moment.");
  }
}

export async function post(url, body) {
  const response = await reach(url, { method: "POST", headers: headers(), body: JSON.stringify(body) });
  if (response.redirected) throw new Error("Your session has ended. Log in again in another tab.");
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message ?? `The server answered with ${response.status}.`);
  return answer;
}

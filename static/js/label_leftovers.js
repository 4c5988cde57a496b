// What could not be saved in documents that are no longer open: sent as soon as it can be, and told until it is.

import { headers, reach } from "./label_sync.js";

const EVERY = 30_000; // ms
const BUSY = 120_000; // ms for which another tab may still be saving an entry

export class Leftovers {
  // `tell` gets the entries that have to be looked at in their documents.
  constructor(sync, tell) {
    this.sync = sync;
    this.tell = tell;
    this.held = new Map(); // those entries by key
    this.running = false;
    window.addEventListener("online", () => this.send());
    setInterval(() => this.send(), EVERY);
  }

  entries() {
    const prefix = `label-${this.sync.user}-`;
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(prefix) && key !== this.sync.key);
    return keys.map((key) => [key, read(key)]).filter(([key, left]) => left?.url && !this.isBusy(key, left));
  }

  isBusy(key, left) {
    return !this.sync.opened.has(key) && Date.now() - Date.parse(left.at) < BUSY;
  }

  async send() {
    if (this.running) return;
    this.running = true;
    const entries = this.entries();
    for (const key of this.held.keys()) if (!entries.some(([there]) => there === key)) this.held.delete(key);
    try {
      for (const [key, left] of entries) {
        if (this.held.get(key)?.at !== left.at) await this.settle(key, left);
      }
    } catch {
      // No answer: it is tried again.
    } finally {
      this.running = false;
    }
    this.tell([...this.held].map(([key, left]) => ({ ...left, discard: () => this.discard(key) })));
  }

  async settle(key, left) {
    this.held.delete(key);
    const done = await deliver(left);
    if (read(key)?.at !== left.at) return;
    if (done) localStorage.removeItem(key);
    else this.held.set(key, left);
  }

  discard(key) {
    localStorage.removeItem(key);
    this.send();
  }
}

// Resolves to whether it is saved. Where somebody, perhaps this person elsewhere, saved since, only a person can tell
// which value is right.
async function deliver({ at, name, url, ...body }) {
  const state = await answerOf(await reach(`${url}state/`));
  if (!state || state.version !== body.base_version || state.schema !== body.schema) return false;
  const draft = { ...body, submit: false };
  const answer = await answerOf(
    await reach(state.urls.save, { method: "POST", headers: headers(), body: JSON.stringify(draft) }),
  );
  return Boolean(answer && !answer.clashes.length);
}

// Null where the server refuses for good; throws where it may answer otherwise later.
async function answerOf(response) {
  if (response.redirected || response.status >= 500 || [403, 429].includes(response.status)) throw new Error(String(response.status));
  return response.ok ? response.json() : null;
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

// What could not be saved in documents that are no longer open: sent as soon as it can be, and told until it is.

import { headers, reach } from "./autosave.js";

const EVERY = 30_000; // ms
const BUSY = 120_000; // ms for which another tab may still be saving an entry

export class Leftovers {
  // `tell` gets what is not saved yet.
  constructor(sync, tell) {
    this.sync = sync;
    this.tell = tell;
    this.refused = new Map(); // when an entry was written that only a person can save, by key
    this.running = false;
    window.addEventListener("online", () => this.send());
    setInterval(() => this.send(), EVERY);
  }

  get entries() {
    const prefix = `label-${this.sync.user}-`;
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(prefix) && key !== this.sync.key);
    return keys.map((key) => ({ ...read(key), key })).filter((left) => left.url && !this.isBusy(left));
  }

  isBusy({ key, at }) {
    return !this.sync.opened.has(key) && Date.now() - Date.parse(at) < BUSY;
  }

  async send() {
    if (this.running) return;
    this.running = true;
    for (const left of this.entries) {
      if (this.refused.get(left.key) === left.at) continue;
      try {
        if (!(await deliver(left))) this.refused.set(left.key, left.at);
        else if (read(left.key)?.at === left.at) localStorage.removeItem(left.key);
      } catch {
        // No answer: it is tried again.
      }
    }
    this.running = false;
    this.draw();
  }

  draw() {
    this.tell(this.entries.map((left) => ({ ...left, discard: () => this.discard(left) })));
  }

  discard({ key }) {
    localStorage.removeItem(key);
    this.draw();
  }
}

// Resolves to whether it is saved. Where somebody, perhaps this person elsewhere, saved since, only a person can tell
// which value is right.
async function deliver({ key, at, name, url, ...body }) {
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

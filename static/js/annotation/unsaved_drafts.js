// Drafts of documents that are no longer open and could not be saved: sent as soon as possible, and listed until then.

/** @import { DocumentState, SaveResponse, UnsavedDraft } from "./types" */

import { headers, request } from "../site/http.js";

/** @typedef {UnsavedDraft & { discard: () => void }} UnsavedDraftEntry */
/** @typedef {{ user: string, key: string | null, opened: Set<string> }} OpenDocuments of this tab: `key` is the current one */

const RETRY_MS = 30_000;
const OTHER_TAB_MS = 120_000; // for which another tab may still be saving a draft

export class UnsavedDrafts {
  /** When a draft was written that only a person can save, by key. @type {Map<string, string>} */
  #rejected = new Map();
  #isRunning = false;

  /** @param {OpenDocuments} open @param {(entries: UnsavedDraftEntry[]) => void} show gets what is not saved */
  constructor(open, show) {
    this.open = open;
    this.show = show;
    window.addEventListener("online", () => this.send());
    setInterval(() => this.send(), RETRY_MS);
  }

  /** @returns {UnsavedDraft[]} */
  get #drafts() {
    const prefix = `label-${this.open.user}-`;
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(prefix) && key !== this.open.key);
    return keys.flatMap((key) => {
      const draft = read(key);
      return draft?.url && !this.#isInOtherTab(draft) ? [draft] : [];
    });
  }

  /** @param {UnsavedDraft} draft */
  #isInOtherTab({ key, at }) {
    return !this.open.opened.has(key) && Date.now() - Date.parse(at) < OTHER_TAB_MS;
  }

  async send() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (const draft of this.#drafts) {
      if (this.#rejected.get(draft.key) === draft.at) continue;
      try {
        if (!(await deliver(draft))) this.#rejected.set(draft.key, draft.at);
        else if (read(draft.key)?.at === draft.at) localStorage.removeItem(draft.key);
      } catch {
        // No response: it is sent again later.
      }
    }
    this.#isRunning = false;
    this.#draw();
  }

  #draw() {
    this.show(this.#drafts.map((draft) => ({ ...draft, discard: () => this.#discard(draft.key) })));
  }

  /** @param {string} key */
  #discard(key) {
    localStorage.removeItem(key);
    this.#draw();
  }
}

/**
 * Resolves to whether the draft is saved. Where the document was saved since, only a person can say which value is
 * right.
 * @param {UnsavedDraft} draft
 */
async function deliver({ key: _key, at: _at, name: _name, url, ...body }) {
  const state = /** @type {DocumentState | null} */ (await jsonOf(await request(`${url}state/`)));
  if (!state || state.version !== body.base_version || state.schema !== body.schema) return false;
  const draft = JSON.stringify({ ...body, submit: Boolean(body.submit) });
  const response = /** @type {SaveResponse | null} */ (await jsonOf(await request(state.urls.save, { method: "POST", headers: headers(), body: draft })));
  return Boolean(response && !response.clashes.length);
}

/**
 * The JSON of a response; null where the server rejects the request for good. Throws where it may succeed later.
 * @param {Response} response
 */
async function jsonOf(response) {
  if (response.redirected || response.status >= 500 || [403, 429].includes(response.status)) throw new Error(String(response.status));
  return response.ok ? response.json() : null;
}

/** @param {string} key @returns {UnsavedDraft | null} */
function read(key) {
  try {
    const draft = JSON.parse(localStorage.getItem(key) ?? "null");
    return draft && { ...draft, key };
  } catch {
    return null;
  }
}

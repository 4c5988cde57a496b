// The drawers beside the form: what people say about the document and its fields, and who changed what.

import { headers, post, reach } from "./autosave.js";
import { Mentions } from "./mentions.js";

const $ = (id) => document.getElementById(id);

async function fetched(url) {
  const response = await reach(url, { headers: headers() });
  if (response.redirected) throw new Error("Your session has ended. Log in again in another tab.");
  if (!response.ok) throw new Error(`The server answered with ${response.status}. Try again in a moment.`);
  return response;
}

const paragraph = (className, words) => Object.assign(document.createElement("p"), { className, textContent: words });

export class Comments {
  // `focused()` is the path of the field that had the focus; `told(commented)` gets the open comments of every field.
  constructor({ form, current, focused }) {
    Object.assign(this, { form, current, focused });
    this.unsent = new Map(); // what was typed and not sent, by document
    this.mentions = new Mentions($("comment-text"), $("mention-list"));
    $("comments-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    $("comments-dialog").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.send();
      }
    });
    $("comments-dialog").addEventListener("close", () => this.unsent.set(this.document.id, $("comment-text").value));
    $("comments-list").addEventListener("click", (event) => this.clicked(event));
    $("comment-button").addEventListener("click", () => this.show());
  }

  opened(state) {
    this.told(state.comments, state.commented);
  }

  told(count, commented) {
    $("comment-count").textContent = count;
    $("comment-count").hidden = !count;
    const wanted = new Map(Object.entries(commented).filter(([path]) => path).map(([path, number]) => [this.form.find(path).node, number]));
    for (const node of this.form.root.querySelectorAll("[data-commented]")) if (!wanted.has(node)) delete node.dataset.commented;
    for (const [node, number] of wanted) node.dataset.commented = number;
  }

  async show() {
    this.document = this.current();
    this.about(this.focused());
    $("comment-text").value = this.unsent.get(this.document.id) ?? "";
    $("comment-error").hidden = true;
    $("comments-list").replaceChildren(paragraph("quiet", "Loading …"));
    $("comments-dialog").showModal();
    $("comment-text").focus();
    try {
      this.draw(await (await fetched(this.document.urls.comments)).json());
    } catch (error) {
      $("comments-list").replaceChildren(paragraph("field-error", error.message));
    }
  }

  // What a comment can be about: the document, and its fields; of rows only the cell that had the focus.
  about(path) {
    const leaves = [...this.form.root.querySelectorAll('[data-node="leaf"], [data-node="checks"]')];
    const options = [new Option("the document", "")];
    for (const leaf of leaves) {
      const own = this.form.pathOf(leaf);
      if (own !== path && leaf.closest("[data-item]")) continue;
      const row = leaf.closest("[data-item]");
      const rows = row?.closest('[data-node="table"], [data-node="list"]').dataset.title;
      const words = row ? `${rows}, row ${row.querySelector("[data-number]").textContent}: ${leaf.dataset.title || "value"}` : leaf.dataset.title;
      options.push(new Option(words, own, false, own === path));
    }
    $("comment-about").replaceChildren(...options);
  }

  draw({ html, count, commented, members }) {
    // HTML of our own server, in which people's words are escaped.
    $("comments-list").innerHTML = html;
    this.mentions.members = members;
    if (this.document === this.current()) this.told(count, commented);
  }

  async send() {
    const box = $("comment-text");
    const text = box.value.trim();
    if (!text || this.sending) return;
    const about = this.document;
    // What is typed while it is sent is the next comment.
    box.value = "";
    box.focus();
    const sent = await this.tell(async () => {
      this.draw(await post(about.urls.comments, { path: $("comment-about").value, text }));
      $("comments-list").scrollTop = 0;
    });
    if (sent) return;
    const both = (now) => [text, now].filter(Boolean).join("\n");
    if ($("comments-dialog").open && about === this.document) box.value = both(box.value);
    else this.unsent.set(about.id, both(this.unsent.get(about.id)));
  }

  // Resolves to whether the server has it.
  async tell(action) {
    this.sending = true;
    $("comment-error").hidden = true;
    try {
      await action();
      return true;
    } catch (error) {
      $("comment-error").textContent = `${error.message} What you wrote is still here.`;
      $("comment-error").hidden = false;
      return false;
    } finally {
      this.sending = false;
    }
  }

  clicked(event) {
    const settled = event.target.closest("[data-resolve]");
    if (settled) {
      this.tell(async () => this.draw(await post(this.document.urls.resolve, { comment: Number(settled.dataset.resolve) })));
      $("comment-text").focus();
    }
    const about = event.target.closest("[data-comment-path]");
    if (!about) return;
    $("comments-dialog").close();
    this.form.focus(about.dataset.commentPath);
  }
}

export class History {
  // `saved()` saves what is typed and resolves to whether it is; `restored` gets the answer.
  constructor({ current, version, saved, restored }) {
    Object.assign(this, { current, version, saved, restored });
    $("history-button").addEventListener("click", () => this.show());
    $("history-list").addEventListener("click", (event) => {
      const button = event.target.closest("[data-restore]");
      if (button) this.restore(Number(button.dataset.restore));
    });
  }

  async show() {
    $("history-list").replaceChildren(paragraph("quiet", "Loading …"));
    $("history-dialog").showModal();
    try {
      // What was typed just now belongs to it.
      await this.saved();
      $("history-list").innerHTML = await (await fetched(this.current().urls.history)).text();
    } catch (error) {
      $("history-list").replaceChildren(paragraph("field-error", error.message));
    }
  }

  async restore(revision) {
    try {
      if (!(await this.saved())) throw new Error("What you typed cannot be saved now, so nothing is put back.");
      const { urls, prediction } = this.current();
      const answer = await post(urls.restore, { revision, base_version: this.version(), prediction: prediction?.id ?? null });
      $("history-dialog").close();
      this.restored(answer);
    } catch (error) {
      $("history-list").prepend(paragraph("field-error", error.message));
    }
  }
}

// The status of the screen: saved or not, how many problems, the field with the focus, notices.

/** @import { Autosave } from "./autosave.js" */
/** @import { Shortcuts } from "./shortcuts.js" */
/** @import { Action, DocumentState, FieldFacts, SaveResponse, Tag } from "./types" */
/** @import { UnsavedDraftEntry } from "./unsaved_drafts.js" */
/** @import { Validation } from "./validation.js" */

import { keyCap } from "./chords.js";
import { $, find, make } from "../site/dom.js";
import { formatDate, formatExactTime } from "../site/format.js";

/** @param {number} count @param {string} one @param {string} many */
const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

/** @typedef {"error" | "unsubmitted" | "offline" | "saving" | "empty" | "saved"} SaveState */

const SAVE_ICONS = { error: "exclamation-octagon", unsubmitted: "wifi-off", offline: "wifi-off", saving: "arrow-repeat", empty: "circle", saved: "check2" };
const VERDICT_ICONS = { bad: "exclamation-octagon-fill", warning: "exclamation-triangle", good: "check-circle" };

export class Status {
  /** @type {DocumentState | null} */
  #state = null;

  /** @param {{ autosave: Autosave, validation: Validation, shortcuts: Shortcuts }} options */
  constructor({ autosave, validation, shortcuts }) {
    this.autosave = autosave;
    this.validation = validation;
    this.shortcuts = shortcuts;
    $("notice-close").addEventListener("click", () => ($("notice").hidden = true));
    // The mouse leaves the focus where it is.
    for (const box of [$("notice"), $("messages")]) box.addEventListener("mousedown", (event) => event.target.closest("button, a") && event.preventDefault());
    setInterval(() => this.#drawSaved(), 1000);
  }

  /** @param {DocumentState} state @param {() => void} openNext */
  open(state, openNext) {
    this.#state = state;
    $("notice").hidden = true;
    this.showSyntaxError("");
    this.#showRejection(state.rejection);
    $("returned").hidden = !state.returned;
    $("returned-reason").textContent = state.returned;
    this.#noticeState(state, openNext);
    this.draw();
  }

  /** @param {DocumentState} state @param {() => void} openNext */
  #noticeState(state, openNext) {
    const counts = state.approves ? "Your changes take effect when you approve it." : "Changes take effect when you submit again.";
    if (state.held_by) {
      this.notice(`${state.held_by} took over this document. Changes that you both make are merged field by field.`, "warning", [["Open another", openNext]]);
    } else if (state.own_only && !state.submitted) {
      this.notice("Several annotators label this document independently.");
    } else if (["submitted", "approved"].includes(state.state) && !state.submitted) {
      this.notice(`This document is ${state.state}; this draft has changed since then. ${counts}`);
    } else if (state.author && !state.submitted) {
      this.notice(`This is ${state.author}'s draft. You can continue it; their version stays in the history.`);
    } else if (state.submitted) {
      const who = state.author ? `by ${state.author}` : state.origin === "imported" ? "by an import" : "by you";
      this.notice(state.state === "approved" ? `Approved. ${counts}` : `Submitted ${who}. ${counts}`);
    } else if (state.state === "skipped") {
      this.notice(`This document was skipped: ${state.skip_reason}`, "warning");
    }
  }

  /** Names other users with this document open. @param {string} names separated by commas; "" for none */
  showOthers(names) {
    $("others").hidden = !names;
    if (names) $("others-words").textContent = `${names} also ${names.includes(", ") ? "have" : "has"} this document open. All changes are merged field by field.`;
  }

  /** @param {DocumentState["rejection"]} rejection */
  #showRejection(rejection) {
    $("rejection").hidden = !rejection;
    if (!rejection) return;
    const at = new Date(rejection.at);
    $("rejection-who").textContent = `${rejection.by} rejected this label.`;
    $("rejection-when").dateTime = rejection.at;
    $("rejection-when").title = formatExactTime(at);
    $("rejection-when").textContent = formatAge(at);
    $("rejection-reason").textContent = rejection.reason;
  }

  draw() {
    if (!this.#state) return;
    this.#drawSaved();
    this.#drawVerdict();
    const isSubmitted = ["submitted", "approved"].includes(this.#state.state);
    // A reviewer's submit of another person's label approves it.
    $("submit-words").textContent = this.#state.approves ? "Approve" : isSubmitted ? "Submit again" : "Submit";
  }

  #drawSaved() {
    if (!this.autosave.isOpen) return;
    const [state, text] = this.#saveState();
    $("saved").dataset.state = state;
    $("saved").title = ["error", "unsubmitted", "offline"].includes(state) ? text : ""; // it may be cut off
    find($("saved"), ".bi").className = `bi bi-${SAVE_ICONS[state]}`;
    if ($("saved-words").textContent !== text) $("saved-words").textContent = text;
  }

  /** @returns {[state: SaveState, text: string]} */
  #saveState() {
    const { error, isSessionEnded, isSubmitDue, failures, isDirty, version, savedAt } = this.autosave;
    if (error && isDirty) return ["error", "Not saved; kept in this browser"];
    const failed = isSubmitDue ? "Not submitted" : "Not saved";
    if (isSessionEnded && failures) return [isSubmitDue ? "unsubmitted" : "error", `${failed}: your session has expired. Sign in again in another tab; your changes are kept`];
    if (failures) return [isSubmitDue ? "unsubmitted" : "offline", `${failed}: the server does not respond. Kept in this browser; retrying`];
    if (isDirty) return ["saving", `Saving… · v${version}`];
    if (!version) return ["empty", "Nothing saved yet"];
    return ["saved", `Saved ${savedAt ? formatAge(savedAt) : ""} · v${version}`];
  }

  #drawVerdict() {
    const { shown, missingRequired, wasSubmitted } = this.validation;
    const isBad = shown.problems.length > missingRequired.length || (wasSubmitted && missingRequired.length > 0);
    const tone = isBad ? "bad" : missingRequired.length || shown.warnings.length ? "warning" : "good";
    $("verdict").dataset.tone = tone;
    find($("verdict"), ".bi").className = `bi bi-${VERDICT_ICONS[tone]}`;
    $("verdict-words").textContent = this.verdict;
  }

  get verdict() {
    const { shown, missingRequired } = this.validation;
    const problems = shown.problems.length - missingRequired.length;
    const parts = [
      problems && plural(problems, "problem", "problems"),
      missingRequired.length && `${missingRequired.length} to fill`,
      shown.warnings.length && `${shown.warnings.length} to confirm`,
    ].filter(Boolean);
    return parts.join(" · ") || "Matches the schema";
  }

  /** For screen readers. @param {string} text */
  announce(text) {
    $("announcer").textContent = "";
    setTimeout(() => ($("announcer").textContent = text), 30);
  }

  /** @param {string} text @param {"info" | "warning"} tone @param {Action[]} actions */
  notice(text, tone = "info", actions = []) {
    $("notice-text").textContent = text;
    $("notice-actions").replaceChildren(...actions.map(([title, run]) => {
      const button = make("button", { type: "button", className: "btn btn-quiet", textContent: title, tabIndex: -1 });
      button.addEventListener("click", run);
      return button;
    }));
    $("notice").dataset.tone = tone;
    $("notice").hidden = false;
  }

  /**
   * Says what a save merged; `merged_with` is "you" for another tab of this user.
   * @param {Pick<SaveResponse, "merged" | "merged_with" | "clashes">} response @param {(path: string) => string} titleOf
   */
  noticeMerge({ merged, merged_with: who, clashes }, titleOf) {
    const names = (/** @type {string[]} */ paths) => [...new Set(paths.map(titleOf))].slice(0, 4).join(", ") || "the label";
    const parts = [];
    const isOwn = who === "you";
    if (merged.length) parts.push(isOwn ? `You changed ${names(merged)} in another tab. It was merged.` : `${who} changed ${names(merged)}. It was merged.`);
    if (clashes.length) {
      const fields = names(clashes.map(({ path }) => path));
      parts.push(isOwn
        ? `You changed ${fields} here and in another tab. This value is kept; the other is shown next to it.`
        : `You and ${who} both changed ${fields}. Your value is kept; theirs is shown next to it.`);
    }
    this.notice(parts.join(" "), "warning");
  }

  /** @param {string} message "" for none */
  showSyntaxError(message) {
    $("raw-text").toggleAttribute("aria-invalid", Boolean(message));
    $("raw-message").replaceChildren(...(message ? [make("p", { className: "sf-message sf-message-problem", textContent: `This is not valid JSON: ${message}` })] : []));
    if (message) this.draw();
  }

  /** @param {Tag[]} tags */
  showTags(tags) {
    $("flags").replaceChildren(...tags.map(({ title }) => make("span", { className: "tag", textContent: title })));
  }

  /** @param {number} count of selected lines */
  showBlock(count) {
    $("focus-words").replaceChildren(make("strong", { textContent: plural(count, "line", "lines") }), " selected");
    $("focus-facts").replaceChildren(this.#shortcut("row_add", "Turn into rows"));
  }

  /**
   * The line below the form: what the field with the focus is for, its normalized value, its place.
   * @param {Element | null} node @param {FieldFacts} [facts]
   */
  showField(node, facts) {
    const [left, right] = [$("focus-words"), $("focus-facts")];
    left.replaceChildren();
    right.replaceChildren();
    if (!node || !facts) return;
    const { title = "", description, hint } = node.dataset;
    left.append(make("strong", { textContent: title }), " ");
    // Messages about a cell are below its grid, which may be far away.
    for (const { tone, text } of facts.messages) left.append(make("span", { className: `sf-message-${tone}`, textContent: `${text} ` }));
    if (!facts.messages.length) left.append([description, hint].filter(Boolean).join(" "));
    if (facts.shown !== undefined) right.append(make("b", { textContent: `= ${facts.shown}` }));
    right.append(facts.place);
    if ((facts.spans?.length ?? 0) > 1) right.append(this.#shortcut("evidence", "Next occurrence"));
    if ("absentable" in node.dataset) right.append(this.#shortcut("absent", "Not in document"));
    facts.readings?.slice(0, 2).forEach((date, index) => right.append(this.#shortcut(`reading_${index + 1}`, formatDate(date))));
    if ("look" in node.dataset) right.append(this.#shortcut("right", "Looks right"));
    else if (facts.toConfirm) right.append(this.#shortcut("right", "Confirm value"));
  }

  /** A key and what it does. @param {string} action @param {string} text */
  #shortcut(action, text) {
    const element = make("span");
    element.append(keyCap(this.shortcuts.label(action)), ` ${text}`);
    return element;
  }
}

/** @param {Date} moment */
function formatAge(moment) {
  const seconds = Math.max(0, Math.round((Date.now() - moment.getTime()) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** Lists drafts that are not saved; the list stays until each is saved or discarded. @param {UnsavedDraftEntry[]} entries */
export function showUnsavedDrafts(entries) {
  document.getElementById("leftovers")?.remove();
  if (!entries.length) return;
  const box = make("div", { id: "leftovers", className: "alert alert-warning" });
  box.setAttribute("role", "status");
  box.append("Unsaved changes, kept only in this browser. Open a document to save them:");
  for (const { name, url, submit, discard } of entries) {
    const button = make("button", { type: "button", className: "btn btn-quiet", textContent: "Discard", tabIndex: -1 });
    button.setAttribute("aria-label", `Discard unsaved changes to ${name}`);
    button.addEventListener("click", discard);
    const line = make("div");
    line.append(make("a", { href: url, textContent: name, tabIndex: -1 }), submit ? " (not submitted) " : " ", button);
    box.append(line);
  }
  $("messages").append(box);
}

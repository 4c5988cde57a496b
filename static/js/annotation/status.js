// What the screen says: saved or not, how many problems, the field that has the focus, notices.

import { dayInWords } from "./validation.js";
import { keyCap } from "./shortcuts.js";

const $ = (id) => document.getElementById(id);
const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

export class Status {
  constructor({ sync, checks, keys }) {
    Object.assign(this, { sync, checks, keys });
    $("notice-close").addEventListener("click", () => ($("notice").hidden = true));
    // A press of the mouse leaves the focus where it is.
    for (const box of [$("notice"), $("messages")]) box.addEventListener("mousedown", (event) => event.target.closest("button, a") && event.preventDefault());
    setInterval(() => this.drawSaved(), 1000);
  }

  // `goOn` opens the next document.
  open(state, goOn) {
    this.state = state;
    $("notice").hidden = true;
    this.syntax("");
    this.rejection(state.rejection);
    const counts = state.approves ? "It counts with your changes once you approve it." : "Changes count once you submit again.";
    $("returned").hidden = !state.returned;
    $("returned-reason").textContent = state.returned;
    if (state.held_by) {
      this.notice(`${state.held_by} has taken this document. What you both change is merged field by field.`, "warning", [["Open another", goOn]]);
    } else if (state.own_only && !state.submitted) {
      this.notice("Several people label this document, each without seeing the others.");
    } else if (["submitted", "approved"].includes(state.state) && !state.submitted) {
      this.notice(`This document is ${state.state}; what stands here was changed since. ${counts}`);
    } else if (state.author && !state.submitted) {
      this.notice(`This is ${state.author}'s draft. You can go on with it; their version stays in the history.`);
    } else if (state.submitted) {
      const who = state.author ? `by ${state.author}` : state.origin === "imported" ? "with an import" : "by you";
      this.notice(`Submitted ${who}. ${counts}`);
    } else if (state.state === "skipped") {
      this.notice(`This document was skipped: ${state.skip_reason}`, "warning");
    }
    this.draw();
  }

  // Other people who have this document open, too.
  others(names) {
    $("others").hidden = !names;
    if (names) $("others-words").textContent = `${names} ${names.includes(", ") ? "have" : "has"} this document open, too. What you all change is merged field by field.`;
  }

  rejection(found) {
    $("rejection").hidden = !found;
    if (!found) return;
    $("rejection-who").textContent = `${found.by} sent this back.`;
    $("rejection-when").dateTime = found.at;
    $("rejection-when").title = new Date(found.at).toLocaleString();
    $("rejection-when").textContent = since(new Date(found.at));
    $("rejection-reason").textContent = found.reason;
  }

  draw() {
    if (!this.state) return;
    this.drawSaved();
    this.drawVerdict();
    $("submit-words").textContent = this.submitWords;
  }

  // What the button does: a reviewer's submit over a label of another person approves it.
  get submitWords() {
    if (this.state.approves) return "Approve";
    return ["submitted", "approved"].includes(this.state.state) ? "Submit again" : "Submit";
  }

  drawSaved() {
    const { sync } = this;
    if (!sync.document) return;
    const [tone, icon, words] = this.savedWords(sync);
    $("saved").dataset.tone = tone;
    $("saved").title = tone === "bad" ? words : ""; // it may be cut off
    $("saved").firstElementChild.className = `bi bi-${icon}`;
    if ($("saved-words").textContent !== words) $("saved-words").textContent = words;
  }

  savedWords(sync) {
    if (sync.stuck && sync.isDirty) return ["bad", "exclamation-octagon", "Not saved; kept in this browser"];
    if (sync.ended && sync.failures) {
      return ["bad", "exclamation-octagon", "Not saved: your session has ended. Log in again in another tab; what you typed is kept"];
    }
    if (sync.failures) return ["bad", "wifi-off", "Not saved: the server does not answer. Kept in this browser and tried again"];
    if (sync.isDirty) return ["quiet", "arrow-repeat", `saving… · v${sync.version}`];
    if (!sync.version) return ["quiet", "circle", "nothing saved yet"];
    return ["quiet", "check2", `saved ${sync.savedAt ? since(sync.savedAt) : ""} · v${sync.version}`];
  }

  drawVerdict() {
    const { checks } = this;
    const bad = checks.answer.problems.length - checks.toFill.length;
    const serious = bad || (checks.tried && checks.toFill.length);
    const tone = serious ? "bad" : checks.toFill.length || checks.answer.warnings.length ? "warning" : "good";
    $("verdict").dataset.tone = tone;
    const icons = { bad: "exclamation-octagon-fill", warning: "exclamation-triangle", good: "check-circle" };
    $("verdict").firstElementChild.className = `bi bi-${icons[tone]}`;
    $("verdict-words").textContent = this.verdictWords();
  }

  verdictWords() {
    const { checks } = this;
    const bad = checks.answer.problems.length - checks.toFill.length;
    const parts = [
      bad && plural(bad, "problem", "problems"),
      checks.toFill.length && `${checks.toFill.length} to fill`,
      checks.toConfirm.length && `${checks.toConfirm.length} to confirm`,
    ].filter(Boolean);
    return parts.join(" · ") || "fits the schema";
  }

  say(words) {
    $("announcer").textContent = "";
    setTimeout(() => ($("announcer").textContent = words), 30);
  }

  // `actions` is [[words, what a press does], ...].
  notice(words, tone = "info", actions = []) {
    $("notice-text").textContent = words;
    $("notice-actions").replaceChildren(...actions.map(([text, does]) => {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "btn btn-quiet", textContent: text, tabIndex: -1 });
      button.addEventListener("click", does);
      return button;
    }));
    $("notice").dataset.tone = tone;
    $("notice").hidden = false;
  }

  merged(answer, titleOf) {
    const names = (paths) => [...new Set(paths.map(titleOf))].slice(0, 4).join(", ") || "the label";
    const parts = [];
    if (answer.merged.length) parts.push(`${answer.merged_with} changed ${names(answer.merged)}: taken over.`);
    if (answer.clashes.length) {
      parts.push(`You and ${answer.merged_with} both changed ${names(answer.clashes.map((clash) => clash.path))}: yours stays, theirs stands beside it.`);
    }
    this.notice(parts.join(" "), "warning");
  }

  syntax(message) {
    const box = $("raw-message");
    box.replaceChildren();
    $("raw-text").toggleAttribute("aria-invalid", Boolean(message));
    if (!message) return;
    const line = Object.assign(document.createElement("p"), { className: "sf-message sf-message-problem", textContent: `This is not JSON yet: ${message}` });
    box.append(line);
    this.draw();
  }

  flags(tags) {
    $("flags").replaceChildren(...tags.map((tag) => Object.assign(document.createElement("span"), { className: "tag", textContent: tag.title })));
  }

  block(count) {
    $("focus-words").replaceChildren(Object.assign(document.createElement("strong"), { textContent: plural(count, "line", "lines") }), " selected");
    $("focus-facts").replaceChildren(this.key("row_add", "make rows of them"));
  }

  // The line below the form: what the field with the focus is for, how it was understood, where it stands.
  field(node, facts) {
    const [words, side] = [$("focus-words"), $("focus-facts")];
    words.replaceChildren();
    side.replaceChildren();
    if (!node) return;
    const { title, description, hint } = node.dataset;
    words.append(Object.assign(document.createElement("strong"), { textContent: title ?? "" }), " ");
    // What is wrong with a cell stands below its grid, which may be far away.
    const said = facts?.said ?? [];
    for (const { tone, words: text } of said) words.append(Object.assign(document.createElement("span"), { className: `sf-message-${tone}`, textContent: `${text} ` }));
    if (!said.length) words.append([description, hint].filter(Boolean).join(" "));
    if (!facts) return;
    if (facts.shown !== undefined) side.append(Object.assign(document.createElement("b"), { textContent: `= ${facts.shown}` }));
    side.append(facts.place);
    if (facts.spans?.length > 1) side.append(this.key("evidence", "next place"));
    if ("absentable" in node.dataset) side.append(this.key("absent", "not in document"));
    (facts.readings ?? []).forEach((day, index) => {
      if (index < 2) side.append(this.key(`reading_${index + 1}`, dayInWords(day)));
    });
    if ("look" in node.dataset) side.append(this.key("right", "looks right"));
    else if (facts.toConfirm) side.append(this.key("right", "confirm value"));
  }

  // What a key does, as the person has it.
  key(name, words) {
    const element = document.createElement("span");
    element.append(keyCap(this.keys.words(name)), ` ${words}`);
    return element;
  }
}

function since(moment) {
  const seconds = Math.max(0, Math.round((Date.now() - moment) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

// What is not saved yet; it stands until each is saved or discarded.
export function leftoverList(entries) {
  $("leftovers")?.remove();
  if (!entries.length) return;
  const box = Object.assign(document.createElement("div"), { id: "leftovers", className: "alert alert-warning" });
  box.setAttribute("role", "status");
  box.append("Not saved yet, and kept in this browser only. Open a document to save it:");
  for (const { name, url, discard } of entries) {
    const link = Object.assign(document.createElement("a"), { href: url, textContent: name, tabIndex: -1 });
    const button = Object.assign(document.createElement("button"), { type: "button", className: "btn btn-quiet", textContent: "Discard", tabIndex: -1 });
    button.setAttribute("aria-label", `Discard what was not saved in ${name}`);
    button.addEventListener("click", discard);
    const line = document.createElement("div");
    line.append(link, " ", button);
    box.append(line);
  }
  $("messages").append(box);
}

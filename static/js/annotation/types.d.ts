// What the modules of the labeling screen exchange, and the JSON of its endpoints (labeling/annotation/).

/**
 * A value as the form holds it: texts as typed, `null` for "not in the document", `""` for an empty row. Names that begin
 * with $ are the form's own: {$json} is a value kept as JSON text, {$form, $value} one of several forms of a value, {$more}
 * the names that the schema does not list. Rows of a map are {key, value}.
 */
export type Entry = undefined | null | string | number | boolean | Entry[] | EntryGroup;
export interface EntryGroup {
  [name: string]: Entry;
}
export type RawEntry = { $json: string };

/** Names and row numbers that lead to an entry. */
export type Steps = (string | number)[];

/** Values by path ("line_items[0].amount"), without a prototype: a field may be called constructor. */
export type ByPath<T> = Record<string, T>;

/** The span of a value in the document, in characters, and the user's confirmations. */
export interface FieldEvidence {
  start?: number;
  end?: number;
  by?: "hand";
  confirmed?: boolean;
  /** the value that was confirmed */
  of?: unknown;
  /** digests of the broken invariants that were confirmed */
  doubts?: string[];
  absent?: boolean;
  seen?: boolean;
}
export type EvidenceMap = ByPath<FieldEvidence>;

export interface Problem {
  path: string;
  rule: string;
  message: string;
}

/** What the server found in a label. */
export interface Findings {
  problems: Problem[];
  /** what has to be confirmed before a submit */
  warnings: Problem[];
  evidence: EvidenceMap;
  /** every place where a value occurs in the document */
  spans: ByPath<[start: number, end: number][]>;
  /** values without evidence */
  missing: ByPath<unknown>;
  /** the ISO dates that an ambiguous date can mean */
  readings: ByPath<string[]>;
  /** messages of broken invariants by digest */
  doubts: ByPath<Record<string, string>>;
  /** how typed values are normalized */
  shown: ByPath<string>;
  /** reasons to review a field of a pre-filled form; null where no model filled it */
  exceptions: ByPath<string[]> | null;
  /** optional fields without a value or "not in the document" */
  unanswered?: string[];
}

/** A value that another user saved where this user changed it. */
export interface Conflict {
  path: string;
  absent: boolean;
  entry: Entry;
  shown: string;
}

/** A conflict on the screen; `mine` is this user's entry when it was found. */
export interface OpenConflict extends Conflict {
  by: string;
  mine: string | null;
}

/** The findings that are on the screen. */
export interface Shown extends Omit<Findings, "evidence" | "exceptions"> {
  conflicts: OpenConflict[];
}

/** The answer to a save. `entry` and `read` come where the form cannot know the value: JSON was sent, or others saved. */
export interface SaveResponse extends Findings {
  version: number;
  schema: number;
  state: string;
  submitted: boolean;
  json: string;
  merged: string[];
  merged_with: string;
  clashes: Conflict[];
  entry?: Entry;
  /** the sent value as the server read it */
  read?: Entry;
  /** why nothing was saved */
  message?: string;
  /** the syntax error of the JSON that was sent */
  syntax?: string;
}

/** [start, end, left, top, right, bottom]: characters of the document's text, pixels of the page. */
export type Line = [start: number, end: number, left: number, top: number, right: number, bottom: number];
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}
export interface Page {
  number: number;
  url: string;
  width: number;
  height: number;
  start: number;
  end: number;
  lines: Line[];
}

/** Evidence marked in the document; `start` and `end` in characters. */
export interface Mark {
  start: number;
  end: number;
  path: string;
  color?: string;
  title?: string;
  tone: "faint" | "other" | "lit" | "strong";
}

export interface Tag {
  name: string;
  title: string;
}

type UrlName =
  | "document" | "save" | "skip" | "flag" | "presence" | "release" | "comments" | "resolve" | "history" | "restore" | "page";

/** A document with its annotation, as the screen opens it. */
export interface DocumentState extends Findings {
  id: number;
  name: string;
  text: string;
  source: string;
  state: string;
  skip_reason: string;
  holdout: boolean;
  synthetic: boolean;
  tags: Tag[];
  urls: Record<UrlName, string>;
  schema: number;
  version: number;
  submitted: boolean;
  saved_at: string | null;
  author: string;
  origin: string;
  held_by: string;
  own_only: boolean;
  approves: boolean;
  rejection: { by: string; reason: string; at: string } | null;
  returned: string;
  comments: number;
  commented: ByPath<number>;
  pages: Page[];
  entry: Entry;
  json: string;
  prediction: { id: number; model: string } | null;
}

/** The next document, or the page that says that the queue is empty. */
export type NextDocument = (DocumentState & { done?: false }) | { done: true; url: string };

export interface CommentList {
  html: string;
  count: number;
  commented: ByPath<number>;
  members: string[];
}

/** The content of the form or of the JSON view: one of `entry` and `json`. */
export interface Content {
  entry?: Entry;
  json?: string;
  /** texts in the JSON that the server has not read yet */
  typed?: ByPath<string>;
  evidence: EvidenceMap;
}

export interface TimeReport {
  seconds: number;
  field_seconds: Record<string, number>;
}

export interface SaveBody extends Content, TimeReport {
  base_version: number;
  schema: number;
  prediction: number | null;
  submit: boolean;
  asked?: string[];
}

/** Unsaved work in localStorage. */
export interface StoredDraft extends SaveBody {
  at: string;
  name: string;
  url: string;
}
export type UnsavedDraft = StoredDraft & { key: string };

export type FieldTone = "conflict" | "problem" | "warning" | "look" | "confirmed";

/** What the line below the form shows about the field with the focus. */
export interface FieldFacts {
  shown?: string;
  place: Node | string;
  spans?: [number, number][];
  messages: { tone: FieldTone; text: string }[];
  toConfirm: boolean;
  readings?: string[];
}

/** [code, label, note] */
export type Choice = [code: string, label: string, note?: string];

export type Action = [title: string, run: () => unknown];

declare global {
  interface ElementsById {
    "comment-about": HTMLSelectElement;
    "comment-text": HTMLTextAreaElement;
    "comments-dialog": HTMLDialogElement;
    "document-page": HTMLAnchorElement;
    "flag-dialog": HTMLDialogElement;
    "flag-form": HTMLFormElement;
    "history-dialog": HTMLDialogElement;
    "key-action": HTMLInputElement;
    "key-chord": HTMLInputElement;
    "key-form": HTMLFormElement;
    "raw-text": HTMLTextAreaElement;
    "rejection-when": HTMLTimeElement;
    "skip-dialog": HTMLDialogElement;
    "skip-form": HTMLFormElement;
    "skip-other": HTMLInputElement;
  }
}

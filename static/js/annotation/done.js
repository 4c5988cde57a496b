// The page of an empty queue: drafts that this browser could not save are sent, and listed until they are.

import { showUnsavedDrafts } from "./status.js";
import { UnsavedDrafts } from "./unsaved_drafts.js";
import { $ } from "../site/dom.js";

const { user = "" } = $("label-done").dataset;
// No document is open here, so another tab's own retries come first.
new UnsavedDrafts({ user, key: null, opened: new Set() }, showUnsavedDrafts).send();

// Where nothing is left to label: what this browser could not save earlier is sent now, and told until it is.

import { Leftovers } from "./unsaved_drafts.js";
import { leftoverList } from "./status.js";

const { user } = document.getElementById("label-done").dataset;
// No document is open here, so none of them is left to another tab's own retries for longer than those take.
new Leftovers({ user, key: null, opened: new Set() }, leftoverList).send();

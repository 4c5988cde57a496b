// Which fields the columns of a layout became when the user changed that: kept in this browser, as it is a habit of reading
// and no data of the project.

/** @import { Target } from "./tables/table_lines.js" */

const NAME = "label-columns";
const MOST = 100;

/** @typedef {{ scope: string, layout: string, targets: Target[] }} Kept */

/** @returns {Kept[]} */
function all() {
  try {
    const kept = JSON.parse(localStorage.getItem(NAME) ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

/** @param {string} scope project, source and grid @param {string} layout @returns {Target[] | undefined} */
export const keptTargets = (scope, layout) => all().find((kept) => kept.scope === scope && kept.layout === layout)?.targets;

/** @param {string} scope @param {string} layout @param {Target[]} targets */
export function keepTargets(scope, layout, targets) {
  const others = all().filter((kept) => kept.scope !== scope || kept.layout !== layout);
  try {
    localStorage.setItem(NAME, JSON.stringify([{ scope, layout, targets }, ...others].slice(0, MOST)));
  } catch {
    // Without storage, the change counts for these rows only.
  }
}

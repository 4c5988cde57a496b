// Paths into a label: "line_items[0].amount" as steps ["line_items", 0, "amount"], and values at them.

const PLAIN = /^[^.[\]"\\\s]+$/u;
const STEP = /\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]|\.?([^.[\]"\\\s]+)/uy;

export function join(path, step) {
  if (typeof step === "number") return `${path}[${step}]`;
  if (!PLAIN.test(step)) return `${path}[${JSON.stringify(step)}]`;
  return path ? `${path}.${step}` : step;
}

export const pathOf = (steps) => steps.reduce(join, "");

export function split(path) {
  const steps = [];
  STEP.lastIndex = 0;
  while (STEP.lastIndex < path.length) {
    const match = STEP.exec(path);
    if (!match) break;
    if (match[1] !== undefined) steps.push(Number(match[1]));
    else steps.push(match[2] !== undefined ? JSON.parse(match[2]) : match[3]);
  }
  return steps;
}

// Values by path or by name. A field may be named constructor or __proto__: what objects inherit is none of them.
export const table = (of) => Object.assign(Object.create(null), of);
export const own = (of, name) => (Object.hasOwn(of, name) ? of[name] : undefined);

export const isRaw = (entry) =>
  entry !== null && typeof entry === "object" && !Array.isArray(entry) &&
  Object.keys(entry).length === 1 && typeof entry.$json === "string";

const isContainer = (entry, step) =>
  typeof step === "number" ? Array.isArray(entry) : entry !== null && typeof entry === "object" && !Array.isArray(entry) && !isRaw(entry);

export function getIn(entry, steps) {
  let here = entry;
  for (const step of steps) {
    if (!isContainer(here, step)) return undefined;
    here = own(here, step);
  }
  return here;
}

// Returns the entry with the value at the steps; undefined takes a name away. Containers on the way are made.
export function setIn(entry, steps, value) {
  if (!steps.length) return value;
  const [step, ...rest] = steps;
  const here = isContainer(entry, step) ? entry : typeof step === "number" ? [] : {};
  // A place before it that nobody filled is empty, not null.
  while (typeof step === "number" && here.length < step) here.push("");
  const inner = setIn(own(here, step), rest, value);
  if (inner === undefined && typeof step === "string") delete here[step];
  else Object.defineProperty(here, step, { value: inner, writable: true, enumerable: true, configurable: true });
  return here;
}

// Keys like "line_items[3].amount" after rows from `from` on were moved by `delta`; those of a removed row go.
export function shiftRows(map, path, from, delta) {
  const result = table();
  for (const [key, value] of Object.entries(map)) {
    const match = key.startsWith(`${path}[`) ? /^(\d+)\](.*)$/su.exec(key.slice(path.length + 1)) : null;
    const row = match ? Number(match[1]) : -1;
    if (!match || row < from) result[key] = value;
    else if (delta > 0 || row > from) result[`${path}[${row + delta}]${match[2]}`] = value;
  }
  return result;
}

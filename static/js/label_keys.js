// Keys by their place on the keyboard (event.code), so that they are the same on every layout. AltGr types letters and
// is left alone. On a Mac, Alt is Ctrl+Option and Ctrl is Cmd (Ctrl works too).

const MAC = /Mac|iPhone|iPad/u.test(navigator.platform);

export function chord(event) {
  if (event.getModifierState("AltGraph") || event.isComposing) return "";
  const alt = MAC ? event.altKey && event.ctrlKey : event.altKey && !event.ctrlKey;
  const control = MAC ? event.metaKey || (event.ctrlKey && !event.altKey) : event.ctrlKey && !event.altKey;
  if ((event.altKey || event.ctrlKey || event.metaKey) && !alt && !control) return "";
  const code = event.code.replace(/^Numpad(\d)$/u, "Digit$1").replace("NumpadEnter", "Enter");
  return `${control ? "Ctrl+" : ""}${alt ? "Alt+" : ""}${event.shiftKey ? "Shift+" : ""}${code}`;
}

export const digitOf = (event) => {
  const match = /^(?:Digit|Numpad)([1-9])$/u.exec(event.code);
  return match && !event.ctrlKey && !event.altKey && !event.metaKey && !event.shiftKey ? Number(match[1]) : null;
};

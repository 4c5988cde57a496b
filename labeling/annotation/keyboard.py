"""The keys of the labeling screen: what can be done, by which chord, and what a person made of it. Pure.

A chord names a place on the keyboard, as ``event.code`` does, with its modifiers in this order: "Ctrl+Shift+KeyZ",
"Alt+Digit0". On a Mac, Alt is Ctrl+Option and Ctrl is Cmd. ``static/js/annotation/shortcuts.js`` uses the same names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class KeyAction:
    """Something the screen does."""

    name: str
    title: str
    defaults: tuple[str, ...]


ACTIONS: tuple[KeyAction, ...] = (
    KeyAction("submit", "submit and open the next", ("Ctrl+Enter",)),
    KeyAction("save", "save the draft now", ("Ctrl+KeyS",)),
    KeyAction("undo", "undo", ("Ctrl+KeyZ",)),
    KeyAction("redo", "redo", ("Ctrl+Shift+KeyZ", "Ctrl+KeyY")),
    KeyAction("next", "next document without submitting", ("Alt+KeyN",)),
    KeyAction("previous", "previous document without submitting", ("Alt+KeyP",)),
    KeyAction("skip", "skip with a reason", ("Alt+KeyX",)),
    KeyAction("flag", "flag what makes it hard", ("Alt+KeyF",)),
    KeyAction("comment", "comment", ("Alt+KeyC",)),
    KeyAction("history", "who changed what", ("Alt+KeyH",)),
    KeyAction("right", "confirm the value, though not in the document; pre-filled: and go on", ("Alt+KeyY",)),
    KeyAction("messages", "to what is said about the field, to the next message, and back", ("Alt+KeyM",)),
    KeyAction("all_fields", "pre-filled: visit all fields, or only those to look at", ("Alt+KeyA",)),
    KeyAction("absent", "not in the document", ("Alt+Digit0",)),
    KeyAction("absent_rest", "all others are not in the document", ("Alt+Shift+Digit0",)),
    KeyAction("reading_1", "an ambiguous date: the first reading", ("Alt+Digit1",)),
    KeyAction("reading_2", "an ambiguous date: the second reading", ("Alt+Digit2",)),
    KeyAction("evidence", "next place in the document where the value stands", ("Alt+KeyE",)),
    KeyAction("row_add", "add a row, or make rows of the selected lines", ("Alt+KeyR",)),
    KeyAction("row_duplicate", "duplicate the row", ("Ctrl+KeyD",)),
    KeyAction("row_delete", "delete the row", ("Ctrl+Shift+Backspace",)),
    KeyAction("json", "JSON and back", ("Alt+KeyJ",)),
    KeyAction("view", "page, text or both", ("Alt+KeyV",)),
    KeyAction("document", "to the document, and back to the field", ("Alt+KeyD",)),
    KeyAction("keys", "show these keys, also while typing", ("Alt+KeyK",)),
)
BY_NAME = {action.name: action for action in ACTIONS}

_CODES = (
    r"Key[A-Z]|Digit\d|F(?:[1-9]|1[0-2])|Enter|Backspace|Delete|Insert|Home|End|PageUp|PageDown|Space|Arrow(?:Up|Down|"
    r"Left|Right)|Backquote|Minus|Equal|Bracket(?:Left|Right)|Backslash|Semicolon|Quote|Comma|Period|Slash|IntlBackslash"
    r"|IntlRo|IntlYen|Numpad(?:Add|Subtract|Multiply|Divide|Decimal)"
)
_CHORD = re.compile(rf"(?:(?:Ctrl|Alt)\+)?(?:Shift\+)?(?:{_CODES})")
#: what a browser or the text under the cursor needs, and why
_TAKEN: dict[str, str] = {
    **dict.fromkeys(("Ctrl+KeyC", "Ctrl+KeyV", "Ctrl+KeyX", "Ctrl+KeyA"), "it copies, pastes, cuts or selects text"),
    **dict.fromkeys(
        (
            *(f"Ctrl+{shift}Key{letter}" for shift in ("", "Shift+") for letter in "NTW"),
            *("Ctrl+KeyR", "Ctrl+KeyL", "F5", "F11", "F12", "Alt+F4", "Alt+ArrowLeft", "Alt+ArrowRight"),
        ),
        "the browser keeps it for itself",
    ),
    **dict.fromkeys(("KeyG", "Shift+Slash", "Slash"), "it leads to other pages or shows the keys"),
}
_PLAIN = re.compile(r"(?:Shift\+)?(?:Key[A-Z]|F(?:[1-9]|1[0-2]))")
_NAMES = {
    "Enter": "↵", "ArrowUp": "↑", "ArrowDown": "↓", "ArrowLeft": "←", "ArrowRight": "→", "Backquote": "`", "Minus": "-",
    "Equal": "=", "BracketLeft": "[", "BracketRight": "]", "Backslash": "\\", "Semicolon": ";", "Quote": "'",
    "Comma": ",", "Period": ".", "Slash": "/",
}  # fmt: skip


class KeyRefused(ValueError):
    """A chord that cannot be had; the message says why."""


def bindings(own: Any) -> dict[str, tuple[str, ...]]:
    """The chords of every action for a person with these preferences (``Preferences.keys``)."""
    chosen = own if isinstance(own, Mapping) else {}
    return {
        action.name: (chosen[action.name],) if _is_chord(chosen.get(action.name)) else action.defaults
        for action in ACTIONS
    }


def rebound(own: Mapping[str, str], name: str, chord: str) -> dict[str, str]:
    """A person's keys with another chord for an action.

    Raises:
        KeyRefused: no such action or chord, or the chord is another action's or the browser's.
    """
    if name not in BY_NAME:
        raise KeyRefused(f"There is nothing called {name[:40]!r} to press a key for.")
    shown = words(chord)
    if not _is_chord(chord):
        raise KeyRefused(
            f"{shown[:40] or 'This'} cannot be a key here. Take a letter, digit or F key with Ctrl or Alt."
        )
    if chord in _TAKEN:
        raise KeyRefused(f"{shown} cannot be had: {_TAKEN[chord]}.")
    if not chord.startswith(("Ctrl+", "Alt+")) and not _PLAIN.fullmatch(chord):
        raise KeyRefused(f"{shown} alone is needed for filling the form. Take it with Ctrl or Alt.")
    for other, chords in bindings(own).items():
        if other != name and chord in chords:
            raise KeyRefused(f"{shown} is taken: {BY_NAME[other].title}. Give that another key first.")
    kept = {key: value for key, value in own.items() if key in BY_NAME and key != name}
    return kept if (chord,) == BY_NAME[name].defaults else {**kept, name: chord}


def back_to_default(own: Mapping[str, str], name: str) -> dict[str, str]:
    """A person's keys with an action's own chords again.

    Raises:
        KeyRefused: another action has one of them by now.
    """
    kept = {key: value for key, value in own.items() if key in BY_NAME and key != name}
    for other, chords in bindings(kept).items():
        clash = set(chords) & set(BY_NAME[name].defaults) if name in BY_NAME and other != name else None
        if clash:
            raise KeyRefused(
                f"{words(clash.pop())} is taken by now: {BY_NAME[other].title}. Give that another key first."
            )
    return kept


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An action with its chords as key caps, for a table. ``own``: the person chose it."""

    action: KeyAction
    chords: tuple[str, ...]
    own: bool

    @property
    def caps(self) -> list[tuple[str, list[str]]]:
        """Each chord with its key caps."""
        return [(chord, parts(chord)) for chord in self.chords]


def rows(bound: Mapping[str, tuple[str, ...]]) -> list[KeyRow]:
    """What a table of keys shows; ``bound`` as from ``bindings``."""
    return [KeyRow(action, bound[action.name], bound[action.name] != action.defaults) for action in ACTIONS]


def parts(chord: str) -> list[str]:
    """A chord as its key caps read: ["Ctrl", "Shift", "Z"]."""
    return [_NAMES.get(part, re.sub(r"^(?:Key|Digit|Numpad)(?=.)", "", part)) for part in chord.split("+")]


def words(chord: str) -> str:
    """A chord in a sentence: "Ctrl+Shift+Z"."""
    return "+".join(parts(chord))


def _is_chord(chord: Any) -> bool:
    return isinstance(chord, str) and _CHORD.fullmatch(chord) is not None

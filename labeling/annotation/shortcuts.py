"""A user's preferences for the labeling screen: keyboard shortcuts, and which fields Tab visits.

A chord names a place on the keyboard, as ``event.code`` does, with its modifiers in this order: "Ctrl+Shift+KeyZ",
"Alt+Digit0". On a Mac, Alt is Ctrl+Option and Ctrl is Cmd. ``static/js/annotation/chords.js`` uses the same names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from labeling.models import Preferences


@dataclass(frozen=True, slots=True)
class KeyAction:
    """An action of the screen."""

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
    KeyAction("flag", "set tags", ("Alt+KeyF",)),
    KeyAction("comment", "comment", ("Alt+KeyC",)),
    KeyAction("history", "history", ("Alt+KeyH",)),
    KeyAction("right", "confirm a value that is not in the document; in a pre-filled form, continue", ("Alt+KeyY",)),
    KeyAction("messages", "go to the field's messages and back", ("Alt+KeyM",)),
    KeyAction("all_fields", "pre-filled form: visit all fields or only those that need attention", ("Alt+KeyA",)),
    KeyAction("absent", "mark as not in the document", ("Alt+Digit0",)),
    KeyAction("absent_rest", "mark all other empty fields as not in the document", ("Alt+Shift+Digit0",)),
    KeyAction("reading_1", "ambiguous date: use the first reading", ("Alt+Digit1",)),
    KeyAction("reading_2", "ambiguous date: use the second reading", ("Alt+Digit2",)),
    KeyAction("evidence", "next occurrence of the value in the document", ("Alt+KeyE",)),
    KeyAction("row_add", "add a row, or turn the selected lines into rows", ("Alt+KeyR",)),
    KeyAction("row_duplicate", "duplicate the row", ("Ctrl+KeyD",)),
    KeyAction("row_delete", "delete the row", ("Ctrl+Shift+Backspace",)),
    KeyAction("json", "switch between form and JSON", ("Alt+KeyJ",)),
    KeyAction("view", "show page, text or both", ("Alt+KeyV",)),
    KeyAction("document", "go to the document and back to the field", ("Alt+KeyD",)),
    KeyAction("keys", "show these shortcuts, even while typing", ("Alt+KeyK",)),
)
BY_NAME = {action.name: action for action in ACTIONS}

_CODES = (
    r"Key[A-Z]|Digit\d|F(?:[1-9]|1[0-2])|Enter|Backspace|Delete|Insert|Home|End|PageUp|PageDown|Space|Arrow(?:Up|Down|"
    r"Left|Right)|Backquote|Minus|Equal|Bracket(?:Left|Right)|Backslash|Semicolon|Quote|Comma|Period|Slash|IntlBackslash"
    r"|IntlRo|IntlYen|Numpad(?:Add|Subtract|Multiply|Divide|Decimal)"
)
_CHORD = re.compile(rf"(?:(?:Ctrl|Alt)\+)?(?:Shift\+)?(?:{_CODES})")
#: chords that browsers or text fields need, and why
_RESERVED: dict[str, str] = {
    **dict.fromkeys(("Ctrl+KeyC", "Ctrl+KeyV", "Ctrl+KeyX", "Ctrl+KeyA"), "it copies, pastes, cuts or selects text"),
    **dict.fromkeys(
        (
            *(f"Ctrl+{shift}Key{letter}" for shift in ("", "Shift+") for letter in "NTW"),
            *("Ctrl+KeyR", "Ctrl+KeyL", "F5", "F11", "F12", "Alt+F4", "Alt+ArrowLeft", "Alt+ArrowRight"),
        ),
        "the browser uses it",
    ),
    **dict.fromkeys(("KeyG", "Shift+Slash", "Slash"), "it opens other pages or shows the shortcuts"),
}
_PLAIN = re.compile(r"(?:Shift\+)?(?:Key[A-Z]|F(?:[1-9]|1[0-2]))")
_NAMES = {
    "Enter": "↵", "ArrowUp": "↑", "ArrowDown": "↓", "ArrowLeft": "←", "ArrowRight": "→", "Backquote": "`", "Minus": "-",
    "Equal": "=", "BracketLeft": "[", "BracketRight": "]", "Backslash": "\\", "Semicolon": ";", "Quote": "'",
    "Comma": ",", "Period": ".", "Slash": "/",
}  # fmt: skip


class InvalidShortcut(ValueError):
    """A chord that cannot be used; the message says why."""


def bindings(own: Any) -> dict[str, tuple[str, ...]]:
    """The chords of every action for a user with these preferences (``Preferences.keys``)."""
    chosen = own if isinstance(own, Mapping) else {}
    return {
        action.name: (chosen[action.name],) if _is_chord(chosen.get(action.name)) else action.defaults
        for action in ACTIONS
    }


def with_shortcut(own: Mapping[str, str], name: str, chord: str) -> dict[str, str]:
    """A user's shortcuts with another chord for an action.

    Raises:
        InvalidShortcut: no such action or chord, or the chord is another action's or the browser's.
    """
    if name not in BY_NAME:
        raise InvalidShortcut(f"Unknown action {name[:40]!r}.")
    shown = chord_text(chord)
    if not _is_chord(chord):
        raise InvalidShortcut(
            f"{shown[:40] or 'This'} is not a valid shortcut. Use a letter, digit or F key with Ctrl or Alt."
        )
    if chord in _RESERVED:
        raise InvalidShortcut(f"{shown} is reserved: {_RESERVED[chord]}.")
    if not chord.startswith(("Ctrl+", "Alt+")) and not _PLAIN.fullmatch(chord):
        raise InvalidShortcut(f"{shown} is needed for typing. Combine it with Ctrl or Alt.")
    for other, chords in bindings(own).items():
        if other != name and chord in chords:
            raise InvalidShortcut(f"{shown} is in use: {BY_NAME[other].title}. Change that shortcut first.")
    kept = {key: value for key, value in own.items() if key in BY_NAME and key != name}
    return kept if (chord,) == BY_NAME[name].defaults else {**kept, name: chord}


def without_shortcut(own: Mapping[str, str], name: str) -> dict[str, str]:
    """A user's shortcuts with an action's default chords.

    Raises:
        InvalidShortcut: another action uses one of them.
    """
    kept = {key: value for key, value in own.items() if key in BY_NAME and key != name}
    for other, chords in bindings(kept).items():
        clash = set(chords) & set(BY_NAME[name].defaults) if name in BY_NAME and other != name else None
        if clash:
            raise InvalidShortcut(
                f"{chord_text(clash.pop())} is in use: {BY_NAME[other].title}. Change that shortcut first."
            )
    return kept


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An action with its chords as key caps, for a table. ``own``: the user chose it."""

    action: KeyAction
    chords: tuple[str, ...]
    own: bool

    @property
    def caps(self) -> list[tuple[str, list[str]]]:
        """Each chord with its key caps."""
        return [(chord, parts(chord)) for chord in self.chords]


def rows(bound: Mapping[str, tuple[str, ...]]) -> list[KeyRow]:
    """The rows of the shortcut table; ``bound`` as from ``bindings``."""
    return [KeyRow(action, bound[action.name], bound[action.name] != action.defaults) for action in ACTIONS]


def parts(chord: str) -> list[str]:
    """The key caps of a chord: ["Ctrl", "Shift", "Z"]."""
    return [_NAMES.get(part, re.sub(r"^(?:Key|Digit|Numpad)(?=.)", "", part)) for part in chord.split("+")]


def chord_text(chord: str) -> str:
    """A chord as text: "Ctrl+Shift+Z"."""
    return "+".join(parts(chord))


def _is_chord(chord: Any) -> bool:
    return isinstance(chord, str) and _CHORD.fullmatch(chord) is not None


def for_user(user: User) -> Preferences:
    """A user's preferences; unsaved defaults if they have none."""
    return Preferences.objects.filter(user=user).first() or Preferences(user=user)


def set_key(*, user: User, action: str, chord: str) -> Preferences:
    """Sets the chord of an action. Raises InvalidShortcut."""
    with transaction.atomic():
        mine = _locked_row(user)
        mine.keys = with_shortcut(mine.keys, action, chord)
        mine.save(update_fields=["keys"])
    return mine


def reset_keys(*, user: User, action: str = "") -> Preferences:
    """Resets one action, or all, to the default chords. Raises InvalidShortcut."""
    with transaction.atomic():
        mine = _locked_row(user)
        mine.keys = without_shortcut(mine.keys, action) if action else {}
        mine.save(update_fields=["keys"])
    return mine


def set_exceptions_only(*, user: User, on: bool) -> None:
    """Sets whether Tab visits only fields that need attention in a pre-filled form."""
    Preferences.objects.update_or_create(user=user, defaults={"exceptions_only": on})


def _locked_row(user: User) -> Preferences:
    """The row, created if missing, and locked until the transaction ends."""
    Preferences.objects.get_or_create(user=user)
    return Preferences.objects.select_for_update().get(user=user)

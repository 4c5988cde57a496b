"""What a translation changed or left out, for the author of the schema."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """The kinds of notes. All but the last four keep every rule of the schema."""

    TEXT = "text"
    REPEATED = "repeated"
    ENVELOPE = "envelope"
    CHOSEN = "chosen"
    DRAFT = "draft"
    TYPE = "type"
    WRAPPED = "wrapped"
    IGNORED = "ignored"
    FORMAT = "format"
    UNCHECKED = "unchecked"
    REMOTE = "remote"
    MISSING = "missing"


#: notes on rules that are left out: a schema without them accepts more
LOSING = (Code.UNCHECKED, Code.REMOTE, Code.MISSING)


@dataclass(frozen=True, slots=True)
class Note:
    """``path`` is where in the schema (``properties.date.format``), ``detail`` the keyword, format or name."""

    code: Code
    path: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {"code": self.code, "path": self.path, "detail": self.detail}


_SENTENCES = {
    Code.TEXT: "{names} removed around the schema.",
    Code.REPEATED: "Annotations that occur twice in an object; the last one is used: {names}.",
    Code.ENVELOPE: "The schema was extracted from {names}.",
    Code.CHOSEN: "The text contains several schemas; {names} is used.",
    Code.DRAFT: "Translated from an older draft or OpenAPI: {names}.",
    Code.TYPE: "Types completed: {names}.",
    Code.WRAPPED: "The schema is not an object with fields; its value becomes the field {names}.",
    Code.IGNORED: "Annotations ignored: {names}.",
    Code.FORMAT: "Formats not checked: {names}.",
    Code.UNCHECKED: "Rules not checked: {names}.",
    Code.REMOTE: "References that are not fetched; any value is accepted there: {names}.",
    Code.MISSING: "References without a target; any value is accepted there: {names}.",
}
_SHOWN = 8


def sentences(notes: Iterable[Note]) -> tuple[str, ...]:
    """One sentence for each kind of notes, with the names that occur and how often."""
    names: dict[Code, dict[str, int]] = {}
    for note in notes:
        counts = names.setdefault(note.code, {})
        counts[note.detail] = counts.get(note.detail, 0) + 1
    result = []
    for code, sentence in _SENTENCES.items():
        if code in names:
            listed = [name if count == 1 else f"{name} ({count})" for name, count in names[code].items()]
            more = len(listed) - _SHOWN
            shown = ", ".join(listed[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
            text = sentence.format(names=shown)
            result.append(text[:1].upper() + text[1:])
    return tuple(result)

"""Differences: between two texts by line or word, two values by field, the revisions of a document by step."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User

from labeling.models import AnnotationRevision, Document
from slmstudio.contract.schema.compiled import dumps, join


@dataclass(frozen=True)
class DiffLine:
    """One line of a diff. ``mark``: "+" added, "-" removed, " " unchanged, "@" lines left out."""

    mark: str
    text: str


def compare_lines(old: str, new: str) -> list[DiffLine]:
    """The changed lines with three lines around them."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=3)
    body = list(lines)[2:]  # the two lines that name files
    return [DiffLine("@", "") if line.startswith("@@") else DiffLine(line[:1], line[1:]) for line in body]


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A part of a text, and whether it differs from the other text."""

    text: str
    differs: bool


def compare_words(one: str, other: str) -> tuple[list[TextSpan], list[TextSpan]]:
    """Both texts as spans that are the same or differ, cut at words."""
    parts = re.findall(r"\w+|\s+|[^\w\s]", one), re.findall(r"\w+|\s+|[^\w\s]", other)
    sides: tuple[list[TextSpan], list[TextSpan]] = [], []
    for kind, *places in difflib.SequenceMatcher(None, *parts).get_opcodes():
        for side, words, (start, end) in zip(sides, parts, (places[:2], places[2:]), strict=True):
            if start < end:
                side.append(TextSpan("".join(words[start:end]), kind != "equal"))
    return sides


@dataclass(frozen=True)
class FieldChange:
    """One changed field. ``old`` and ``new`` are values as text, None where the field is absent."""

    path: str
    old: str | None
    new: str | None


def field_changes(old: Any, new: Any) -> list[FieldChange]:
    """The leaves that differ between two values, in the order of the new one."""
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    return [
        FieldChange(path, _as_text(before, path), _as_text(after, path))
        for path in dict.fromkeys([*after, *before])
        if path not in before or path not in after or dumps(before[path]) != dumps(after[path])
    ]


def _as_text(leaves: dict[str, Any], path: str) -> str | None:
    """Strings as they are, other values as JSON; None where the field is absent."""
    if path not in leaves:
        return None
    value = leaves[path]
    return value if isinstance(value, str) else dumps(value)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, join(path, name))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, join(path, number))
    elif path:
        yield path, value


# -- the history of a document ----------------------------------------------------------------------------------------

#: newest revisions of a document that are read
MAX_REVISIONS = 200
MAX_CHANGES = 40
#: drafts that are at most this far apart belong to one step
SESSION = timedelta(minutes=15)
_Action = AnnotationRevision.Action


@dataclass(frozen=True)
class HistoryStep:
    """One step of a history: its newest ``revision``, and how many ``saves`` it took. ``more`` changes are left out."""

    revision: AnnotationRevision
    saves: int
    changes: list[FieldChange]
    more: int


def document_history(document: Document, author: User | None = None) -> list[HistoryStep]:
    """The steps of the labels of a document, newest first; ``author``: of this user only."""
    rows = AnnotationRevision.objects.history(document)
    rows = rows if author is None else rows.filter(annotation__user=author)
    return history_steps(list(rows[: MAX_REVISIONS + 1]), has_overlap=document.overlap > 1)


def history_steps(revisions: Sequence[AnnotationRevision], *, has_overlap: bool) -> list[HistoryStep]:
    """The steps of revisions, newest first. Drafts are part of the draft or submit that follows in their session.

    ``has_overlap``: each annotator has labels of their own. One revision more than ``MAX_REVISIONS`` is what the oldest
    step is compared with.
    """
    steps: list[list[int]] = []
    newest: dict[int, list[int]] = {}
    for place, revision in enumerate(revisions[:MAX_REVISIONS]):
        line = revision.annotation_id if has_overlap else 0
        last = newest.get(line)
        if last is not None and _is_part(revision, revisions[last[-1]]):
            last.append(place)
        else:
            newest[line] = [place]
            steps.append(newest[line])
    return [_step(revisions, places, has_overlap=has_overlap) for places in steps]


def _is_part(older: AnnotationRevision, newer: AnnotationRevision) -> bool:
    """Whether a draft and the save after it belong to one step."""
    return (
        older.action == _Action.DRAFT
        and newer.action in (_Action.DRAFT, _Action.SUBMIT)
        and older.annotation_id == newer.annotation_id
        and newer.created_at - older.created_at < SESSION
    )


def _step(revisions: Sequence[AnnotationRevision], places: list[int], *, has_overlap: bool) -> HistoryStep:
    revision = revisions[places[0]]
    earlier = _previous(revision, revisions[places[-1] + 1 :], has_overlap=has_overlap)
    ordered = revision.annotation.schema_version.compiled.ordered(revision.value)
    changes = field_changes(earlier.value if earlier is not None else {}, ordered)
    return HistoryStep(revision, len(places), changes[:MAX_CHANGES], max(0, len(changes) - MAX_CHANGES))


def _previous(
    revision: AnnotationRevision, older: Sequence[AnnotationRevision], *, has_overlap: bool
) -> AnnotationRevision | None:
    """The revision that another is based on, among older ones (newest first). A reviewer's is based on any user's."""
    newest = older[0] if older else None
    if not has_overlap:
        return newest
    own = next((other for other in older if other.annotation.user_id == revision.annotation.user_id), None)
    written = revision.action in (_Action.DRAFT, _Action.SUBMIT)
    return own if own is not None or written else newest

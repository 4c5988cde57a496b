"""The compared documents as columns of one character each, so that ten thousand of them are filtered in a moment.

Pure. A comparison keeps its cases with itself: a page reads the columns, picks the few documents it shows, and loads
nothing of the others. The documents stand in the order in which they are listed, broken first.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from evaluation.scores.slices import Slice, as_text
from slmstudio.contract.scoring.slices import top_shared_values

STATES = ("broken", "fixed", "still_wrong", "still_right")
LETTERS = dict(zip(STATES, "bfwr", strict=True))
NOT_THERE = "-"
#: in a column of errors: neither has it, A alone, B alone, both
NEITHER, IN_A, IN_B, IN_BOTH = "0123"
SIDES = {"a": IN_A + IN_BOTH, "b": IN_B + IN_BOTH, "": IN_A + IN_B + IN_BOTH}

MOST_KEYS = 12
MOST_VALUES = 30
LONGEST = 60
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"


@dataclass(frozen=True)
class Wanted:
    """What a list of cases is asked for; "" asks for nothing.

    With ``field`` the state is that of the field. ``error`` with ``side`` "a" or "b": where that run has it. ``slice``
    is one of metadata, as ``evaluation.scores.slices`` writes it. ``gold``: only those with two golds.
    """

    state: str = ""
    field: str = ""
    error: str = ""
    side: str = ""
    tag: str = ""
    slice: str = ""
    gold: bool = False


@dataclass(frozen=True)
class Cases:
    """``keys`` names the documents; every column has a character for each of them.

    ``state`` and each of ``fields``: a letter of ``LETTERS``, or ``NOT_THERE`` where the field does not count.
    ``errors``: which of the two runs has an error of this kind. ``tags``: "1" where the document has the tag.
    ``metadata``: per key its values and a column of letters that stand for them, ``NOT_THERE`` where the document has
    another value or none. ``gold``: "1" where the two runs were scored against different gold; "" where nowhere.
    """

    keys: tuple[str, ...]
    state: str
    fields: Mapping[str, str]
    errors: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gold: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """The cases that ``as_dict`` wrote."""
        return cls(**{**data, "keys": tuple(data["keys"])})

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "keys": list(self.keys)}

    def about(
        self,
        *,
        tags: Mapping[str, Sequence[str]],
        metadata: Mapping[str, Mapping[str, Any]],
        other_gold: Iterable[str] = (),
    ) -> Self:
        """With what is known of the documents, by key: failure tags, metadata, and which have two golds."""
        names = sorted({tag for key in self.keys for tag in tags.get(key, ())})
        twofold = set(other_gold).intersection(self.keys)
        return replace(
            self,
            tags={name: "".join("01"[name in tags.get(key, ())] for key in self.keys) for name in names},
            metadata=_categories([metadata.get(key) or {} for key in self.keys]),
            gold="".join("01"[key in twofold] for key in self.keys) if twofold else "",
        )

    def slices(self) -> Iterator[tuple[str, str, list[int]]]:
        """(key, value, places) of every metadata slice, by key and value."""
        for key, category in self.metadata.items():
            for letter, value in zip(_ALPHABET, category["values"], strict=False):
                yield key, value, _places(category["at"], letter)

    def tagged(self, tag: str) -> list[int]:
        """Places of the documents that have a tag."""
        return _places(self.tags.get(tag, ""), "1")

    def changed(self, place: int) -> dict[str, str]:
        """The fields of a document that are not right in both, with their state in words."""
        words = {letter: state for state, letter in LETTERS.items()}
        found = {name: words.get(column[place], "") for name, column in self.fields.items()}
        return {name: state for name, state in found.items() if state not in ("", "still_right")}


def _places(column: str, letters: str) -> list[int]:
    return [place for place, letter in enumerate(column) if letter in letters]


def choose(cases: Cases, wanted: Wanted) -> list[tuple[int, str]]:
    """(place, state) of the documents that fit, broken first."""
    column = cases.fields.get(wanted.field, "") if wanted.field else cases.state
    left = list(range(len(column)))
    for other, letters in _filters(cases, wanted):
        left = [place for place in left if other[place] in letters] if other else []
    return [
        (place, state)
        for state, letter in LETTERS.items()
        if wanted.state in ("", state)
        for place in left
        if column[place] == letter
    ]


def _filters(cases: Cases, wanted: Wanted) -> Iterator[tuple[str, str]]:
    """(column, letters that fit) of everything that is asked for beside state and field."""
    if wanted.error:
        yield cases.errors.get(wanted.error, ""), SIDES.get(wanted.side, SIDES[""])
    if wanted.tag:
        yield cases.tags.get(wanted.tag, ""), "1"
    if wanted.gold:
        yield cases.gold, "1"
    if wanted.slice:
        yield _slice(cases, wanted.slice)


def _slice(cases: Cases, name: str) -> tuple[str, str]:
    """The column and the letter of a metadata slice."""
    for key, category in cases.metadata.items():
        for letter, value in zip(_ALPHABET, category["values"], strict=False):
            if str(Slice(key=key, value=value)) == name:
                return category["at"], letter
    return "", NOT_THERE


def _categories(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The keys whose values sort documents into few kinds, or at least the most frequent of them; those with all their
    values first where there are too many.

    A key that is different for every document (a file name), the same for all, or that of one document alone tells no
    slices apart.
    """
    listed: dict[str, list[str]] = {}
    partly: dict[str, bool] = {}
    documents = Counter(key for row in rows for key in row)
    for key in sorted(key for key, count in documents.items() if count > 1 and len(key) <= LONGEST):
        counts = Counter(_text(row.get(key)) for row in rows)
        several = len(counts) > 1
        del counts[None]
        values = _listed(counts, len(rows))
        if values and several:
            listed[key], partly[key] = values, len(values) < len(counts)
    found: dict[str, dict[str, Any]] = {}
    for key in sorted(sorted(listed, key=lambda key: (partly[key], key))[:MOST_KEYS]):
        letters: dict[str | None, str] = dict(zip(listed[key], _ALPHABET, strict=False))
        at = "".join(letters.get(_text(row.get(key)), NOT_THERE) for row in rows)
        found[key] = {"values": listed[key], "at": at}
    return found


def _listed(counts: Counter[str | None], documents: int) -> list[str]:
    """The values of a key that get a slice. Of too many, the most frequent ones that documents share; none of few that
    hardly any share.
    """
    values = [value for value in counts if value is not None]
    if len(values) <= MOST_VALUES:
        return sorted(values) if len(values) <= documents / 2 else []
    return sorted(top_shared_values({value: counts[value] for value in values}, MOST_VALUES))


def _text(value: Any) -> str | None:
    """A value of metadata as the name of a slice; None where it is none."""
    text = as_text(value)
    return text if 0 < len(text) <= LONGEST else None

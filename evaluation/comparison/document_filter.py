"""Filters of the compared documents: columns of one character a document, ten thousand filtered in milliseconds.

Pure. A comparison stores its columns: a page filters them and loads only the documents that it shows. Documents are in
list order, broken first.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from evaluation.scores.slice_selector import Slice, as_text
from slmstudio.contract.scoring.summary import top_shared_values

STATES = ("broken", "fixed", "still_wrong", "still_right")
LETTERS = dict(zip(STATES, "bfwr", strict=True))
ABSENT = "-"
#: in a column of errors: in neither output, only in that of A, only in that of B, in both
NEITHER, IN_A, IN_B, IN_BOTH = "0123"
SIDES = {"a": IN_A + IN_BOTH, "b": IN_B + IN_BOTH, "": IN_A + IN_B + IN_BOTH}

MAX_KEYS = 12
MAX_VALUES = 30
MAX_VALUE_LENGTH = 60
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"


@dataclass(frozen=True)
class DocumentFilter:
    """Filters of a list of documents; "" does not filter.

    ``state``: of the field where ``field`` is set. ``side``: "a" or "b", the run with the ``error``. ``slice``: a
    metadata slice as ``evaluation.scores.slice_selector`` writes it. ``gold``: only documents with two gold labels.
    """

    state: str = ""
    field: str = ""
    error: str = ""
    side: str = ""
    tag: str = ""
    slice: str = ""
    gold: bool = False


@dataclass(frozen=True)
class DocumentColumns:
    """``keys``: names of the documents; every column has one character for each.

    ``state`` and each of ``fields``: a letter of ``LETTERS``, or ``ABSENT`` where the field does not count.
    ``errors``: which of the two runs has an error of this type. ``tags``: "1" where the document has the tag.
    ``metadata``: by key, its values and a column of their letters, ``ABSENT`` where the document has another value
    or none. ``gold``: "1" where the two runs were scored with different gold; "" if there is none.
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
        """The columns from ``as_dict``."""
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
        """With facts of the documents, by key: failure tags, metadata, and those with two gold labels."""
        names = sorted({tag for key in self.keys for tag in tags.get(key, ())})
        several_golds = set(other_gold).intersection(self.keys)
        return replace(
            self,
            tags={name: "".join("01"[name in tags.get(key, ())] for key in self.keys) for name in names},
            metadata=_categories([metadata.get(key) or {} for key in self.keys]),
            gold="".join("01"[key in several_golds] for key in self.keys) if several_golds else "",
        )

    def slices(self) -> Iterator[tuple[str, str, list[int]]]:
        """(key, value, positions) of every metadata slice, by key and value."""
        for key, category in self.metadata.items():
            for letter, value in zip(_ALPHABET, category["values"], strict=False):
                yield key, value, _places(category["at"], letter)

    def tagged(self, tag: str) -> list[int]:
        """Positions of the documents with a tag."""
        return _places(self.tags.get(tag, ""), "1")

    def changed(self, place: int) -> dict[str, str]:
        """The fields of a document that are not right in both, with their state."""
        words = {letter: state for state, letter in LETTERS.items()}
        states = {name: words.get(column[place], "") for name, column in self.fields.items()}
        return {name: state for name, state in states.items() if state not in ("", "still_right")}


def _places(column: str, letters: str) -> list[int]:
    return [place for place, letter in enumerate(column) if letter in letters]


def select_documents(cases: DocumentColumns, filters: DocumentFilter) -> list[tuple[int, str]]:
    """(position, state) of the matching documents, broken first."""
    column = cases.fields.get(filters.field, "") if filters.field else cases.state
    left = list(range(len(column)))
    for other, letters in _filters(cases, filters):
        left = [place for place in left if other[place] in letters] if other else []
    return [
        (place, state)
        for state, letter in LETTERS.items()
        if filters.state in ("", state)
        for place in left
        if column[place] == letter
    ]


def _filters(cases: DocumentColumns, filters: DocumentFilter) -> Iterator[tuple[str, str]]:
    """(column, matching letters) of every filter except state and field."""
    if filters.error:
        yield cases.errors.get(filters.error, ""), SIDES.get(filters.side, SIDES[""])
    if filters.tag:
        yield cases.tags.get(filters.tag, ""), "1"
    if filters.gold:
        yield cases.gold, "1"
    if filters.slice:
        yield _slice(cases, filters.slice)


def _slice(cases: DocumentColumns, name: str) -> tuple[str, str]:
    """The column and the letter of a metadata slice."""
    for key, category in cases.metadata.items():
        for letter, value in zip(_ALPHABET, category["values"], strict=False):
            if str(Slice(key=key, value=value)) == name:
                return category["at"], letter
    return "", ABSENT


def _categories(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The metadata keys with few values, or with frequent values; of too many keys, those with all their values first.

    A key with a different value for every document (a file name), one value for all, or a value in only one document
    makes no slices.
    """
    listed: dict[str, list[str]] = {}
    partly: dict[str, bool] = {}
    documents = Counter(key for row in rows for key in row)
    for key in sorted(key for key, count in documents.items() if count > 1 and len(key) <= MAX_VALUE_LENGTH):
        counts = Counter(_text(row.get(key)) for row in rows)
        several = len(counts) > 1
        del counts[None]
        values = _listed(counts, len(rows))
        if values and several:
            listed[key], partly[key] = values, len(values) < len(counts)
    categories: dict[str, dict[str, Any]] = {}
    for key in sorted(sorted(listed, key=lambda key: (partly[key], key))[:MAX_KEYS]):
        letters: dict[str | None, str] = dict(zip(listed[key], _ALPHABET, strict=False))
        at = "".join(letters.get(_text(row.get(key)), ABSENT) for row in rows)
        categories[key] = {"values": listed[key], "at": at}
    return categories


def _listed(counts: Counter[str | None], documents: int) -> list[str]:
    """The values of a key that make a slice; of many, the most frequent shared ones; none where most are unique."""
    values = [value for value in counts if value is not None]
    if len(values) <= MAX_VALUES:
        return sorted(values) if len(values) <= documents / 2 else []
    return sorted(top_shared_values({value: counts[value] for value in values}, MAX_VALUES))


def _text(value: Any) -> str | None:
    """A metadata value as the name of a slice; None if it is not one."""
    text = as_text(value)
    return text if 0 < len(text) <= MAX_VALUE_LENGTH else None

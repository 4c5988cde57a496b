"""From the scores of windows to one valid output with the probability of each field. Without torch."""

import heapq
import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slmstudio.contract.assembly import assembled
from slmstudio.contract.json_text import dumps
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema, Field, join
from slmstudio.contract.schema.dialect import FORMAT_CHECKER, ExactValidator
from slmstudio.contract.values.kinds.registry import KINDS, collapse
from slmstudio.contract.values.kinds.values import parse_typed
from training.encoders.heads import DATE_ORDER, Head, tag_labels
from training.ml.encoders.spelling import Spelling
from training.ml.encoders.windows import TokenWindow, is_in_word, whole_words

#: stretches and classes that are considered for a field, and combinations of them for a document
_CANDIDATES, _COMBINATIONS = 5, 64
_STRETCHES = 20
#: between the digits of a number
_MARKS = ".,'’"
#: probability from which one of several classes, or the start of a row, is in the output
_LIKELY = 0.5
#: scores of one window by name, as ``EncoderWithHeads.forward`` names them, without the batch
Scores = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value of a field, and its probability."""

    value: Any
    probability: float


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """The output for a document, and the probability of each value by its path."""

    value: Any
    confidence: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A tagged stretch in characters of the document. ``choices``: of a row that begins with it."""

    start: int
    end: int
    label: int
    probability: float
    begins_row: bool = False
    choices: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class _Document:
    """``order``: in which it writes dates in digits, where nothing else says so; "" if unknown."""

    text: str
    order: str = ""


class OutputDecoder:
    """Decodes the scores of the windows of a document under a schema."""

    def __init__(
        self,
        compiled: CompiledSchema,
        heads: Sequence[Head],
        spelling: Mapping[str, Spelling],
        usual: Mapping[str, str],
        glued: Collection[str] = (),
    ) -> None:
        """``usual``: as ``contract.assembly.assembled``. ``glued``: patterns of heads whose stretches may begin or end
        inside a word."""
        self._compiled = compiled
        self._heads = heads
        self._spelling = spelling
        self._usual = usual
        self._glued = glued
        self._has_invariants = invariants.declared(compiled)
        nodes = {node.pattern: node for node in compiled.root.nodes()}
        self._validators = {
            pattern: ExactValidator(node.schema, format_checker=FORMAT_CHECKER)
            for pattern, node in nodes.items()
            if node.field is not None and "$ref" not in dumps(node.schema)
        }

    def decode(self, text: str, windows: Sequence[TokenWindow], scores: Sequence[Scores]) -> EncoderOutput:
        """The most probable output that is valid, of the combinations that are tried; else the most probable one."""
        scores = [narrowed(score) for score in scores]
        order = self._date_order(windows, scores)
        choices: dict[str, list[Candidate]] = {}
        lists: dict[str, Any] = {}
        confidence: dict[str, float] = {}
        counts: dict[str, int] = defaultdict(int)
        for head in self._heads:
            kind = "tags" if head.kind == "rows" else head.kind
            number = counts[kind]
            counts[kind] += 1
            if head.pattern == DATE_ORDER:
                continue
            if head.kind == "span":
                document = _Document(text, order)
                choices[head.pattern] = self._span_candidates(head, number, document, windows, scores)
            elif head.kind == "decision" and not head.several:
                choices[head.pattern] = _classes(head, number, windows, scores)
            elif head.kind == "decision":
                lists[head.pattern], confidence[head.pattern] = _several(head, number, windows, scores)
            else:
                glued = head.pattern in self._glued
                stretches = _stretches(head, number, text, windows, scores, glued=glued)
                rows = self._rows if head.kind == "rows" else self._tags
                lists[head.pattern], inside = rows(head, stretches, _Document(text, order))
                confidence |= inside
        best: EncoderOutput | None = None
        for chosen in itertools.islice(_combinations(choices), _COMBINATIONS):
            values = {pattern: candidate.value for pattern, candidate in chosen.items()} | lists
            output = assembled(self._compiled.root, values, self._usual)
            certain = {pattern: candidate.probability for pattern, candidate in chosen.items()}
            best = best or EncoderOutput(output, confidence | certain)
            if not self._problems(output):
                return EncoderOutput(output, confidence | certain)
        assert best is not None  # no head at all is refused before training
        return best

    def _date_order(self, windows: Sequence[TokenWindow], scores: Sequence[Scores]) -> str:
        """The order in which the document writes dates in digits; "" where no field needs it."""
        decisions = [head for head in self._heads if head.kind == "decision"]
        number = next((at for at, head in enumerate(decisions) if head.pattern == DATE_ORDER), None)
        return "" if number is None else str(_classes(decisions[number], number, windows, scores)[0].value)

    def _problems(self, output: Any) -> bool:
        if self._compiled.validate(output):
            return True
        return self._has_invariants and bool(invariants.check(self._compiled, output))

    # -- spans --------------------------------------------------------------------------------------------------------

    def _span_candidates(
        self, head: Head, number: int, document: _Document, windows: Sequence[TokenWindow], scores: Sequence[Scores]
    ) -> list[Candidate]:
        """The likeliest values, null among them where the contract allows it, the likeliest first.

        Each window has probabilities of its own; a value has the highest of them, null the lowest. Equal values at
        several places of a window share their probability.
        """
        values: dict[str, tuple[Any, float]] = {}
        absent = 1.0
        for window, score in zip(windows, scores, strict=True):
            absent = min(absent, float(score["absent"][number]))
            for value, probability in self._window_values(head, number, document, window, score).values():
                key = dumps(value)
                if probability > values.get(key, (None, 0.0))[1]:
                    values[key] = value, probability
        candidates = [Candidate(value, probability) for value, probability in values.values()]
        leaf = head.leaf
        assert leaf is not None
        if leaf.nullable or not leaf.required:
            candidates.append(Candidate(None, absent))
        candidates.sort(key=lambda candidate: -candidate.probability)
        return candidates[:_CANDIDATES] or [Candidate(None, absent)]

    def _window_values(
        self, head: Head, number: int, document: _Document, window: TokenWindow, score: Scores
    ) -> dict[str, tuple[Any, float]]:
        values: dict[str, tuple[Any, float]] = {}
        places, likely = score["stretches"][number].tolist(), score["likely"][number].tolist()
        for (first, after), probability in zip(places, likely, strict=True):
            if probability < 1e-6:
                break
            if not window.first <= first <= first + after < window.first + len(window.starts):
                continue
            start, end = window.characters_of(first, first + after)
            if head.pattern not in self._glued:
                start, end = whole_words(document.text, start, end, digits_apart=head.has_numbers)
            value = self._value(head.leaf, document, start, end)
            if value is not None:
                key = dumps(value)
                values[key] = value, values.get(key, (None, 0.0))[1] + probability
        return values

    def _value(self, leaf: Field | None, document: _Document, start: int, end: int) -> Any:
        """The value of a stretch of text; None where it has none that the field allows."""
        value = self._read(leaf, document, start, end)
        return value if value is not None and self._is_allowed(leaf, value) else None

    def _read(self, leaf: Field | None, document: _Document, start: int, end: int) -> Any:
        assert leaf is not None
        return value_of(leaf, document.text[start:end], document, self._spelling.get(leaf.pattern))

    def _is_allowed(self, leaf: Field | None, value: Any) -> bool:
        validator = None if leaf is None else self._validators.get(leaf.pattern)
        return validator is None or bool(validator.is_valid(value))

    # -- lists --------------------------------------------------------------------------------------------------------

    def _tags(
        self, head: Head, stretches: Sequence[_Stretch], document: _Document
    ) -> tuple[list[Any], dict[str, float]]:
        rows: list[Any] = []
        confidence: dict[str, float] = {}
        seen: set[str] = set()
        for stretch in stretches:
            value = self._value(head.leaf, document, stretch.start, stretch.end)
            if value is None:
                continue
            row: Any = value
            if head.type_leaf is not None and head.leaf is not None:
                row = {head.leaf.name: value, head.type_leaf.name: head.classes[stretch.label]}
            if dumps(row) in seen:
                continue
            seen.add(dumps(row))
            path = f"{head.pattern}[{len(rows)}]"
            names = [path] if head.type_leaf is None else [join(path, name) for name in row]
            confidence |= dict.fromkeys(names, stretch.probability)
            rows.append(row)
        return rows, confidence

    def _rows(
        self, head: Head, stretches: Sequence[_Stretch], document: _Document
    ) -> tuple[list[Any], dict[str, float]]:
        """Rows in reading order. The choices of a row are those of its first stretch. A value that its column does not
        allow is left out, or makes the output invalid where the column is required: without it, the row would be lost
        and nothing would say so.
        """
        assert head.item is not None
        leaves = [column.leaf for column in head.columns]
        needed = {
            label for label, leaf in enumerate(leaves) if leaf is not None and leaf.required and not leaf.nullable
        }
        rows: list[Any] = []
        confidence: dict[str, float] = {}
        for cells in _completed(self._cells(head, stretches, document), needed):
            path = f"{head.pattern}[{len(rows)}]"
            _, first = next(iter(cells.values()))
            row = [
                (head.columns[label], value, stretch.probability)
                for label, (value, stretch) in cells.items()
                if label in needed or self._is_allowed(leaves[label], value)
            ]
            if not row:
                continue
            for choice, likeliest in zip(head.choices, first.choices, strict=True):
                row.append((choice, likeliest.value, likeliest.probability))
            for column, _, probability in row:
                confidence[path + column.pattern[len(head.item.pattern) :]] = probability
            values = {column.pattern: value for column, value, _ in row}
            rows.append(assembled(head.item, values, self._usual))
        return rows, confidence

    def _cells(
        self, head: Head, stretches: Sequence[_Stretch], document: _Document
    ) -> list[dict[int, tuple[Any, _Stretch]]]:
        """The cells of each row by column: the next row begins where the head says so, or where a column is taken
        already. A text in a column that is taken goes on on the next line. Of two values in a column, one that is not
        allowed gives way to the other."""
        grouped: list[dict[int, tuple[Any, _Stretch]]] = []
        last: dict[int, _Stretch] = {}  # of the row, by column
        for stretch in stretches:
            leaf = head.columns[stretch.label].leaf
            value = self._read(leaf, document, stretch.start, stretch.end)
            if value is None:
                continue
            before = last.get(stretch.label)
            if before is not None and not stretch.begins_row and _goes_on(leaf, document, before, stretch):
                begun, first = grouped[-1][stretch.label]
                if self._is_allowed(leaf, whole := f"{begun} {value}"):
                    probability = min(first.probability, stretch.probability)
                    grouped[-1][stretch.label] = whole, replace(first, probability=probability)
                last[stretch.label] = stretch
                continue
            is_second = before is not None and not stretch.begins_row
            if is_second and not self._is_allowed(leaf, value):
                continue
            if is_second and not self._is_allowed(leaf, grouped[-1][stretch.label][0]):
                del grouped[-1][stretch.label]
            elif not grouped or stretch.begins_row or before is not None:
                grouped.append({})
                last = {}
            grouped[-1][stretch.label] = value, stretch
            last[stretch.label] = stretch
        return grouped


def _goes_on(leaf: Field | None, document: _Document, before: _Stretch, after: _Stretch) -> bool:
    """Whether a text goes on in a stretch: on the next line, with none of the lines between them empty."""
    is_text = leaf is not None and leaf.type == "string" and leaf.kind == "text"
    return is_text and document.text[before.end : after.start].count("\n") == 1


def _completed(rows: Sequence[dict[int, Any]], needed: set[int]) -> list[dict[int, Any]]:
    """Rows, as cells by column, that have all ``needed`` columns. A row that lacks one is joined with the row after it
    where the two have no column in common, and left out otherwise: the output would not be valid.
    """
    joined: list[dict[int, Any]] = []
    for cells in rows:
        if joined and not needed <= joined[-1].keys() and joined[-1].keys().isdisjoint(cells):
            joined[-1] |= cells
        else:
            joined.append(dict(cells))
    return [cells for cells in joined if needed <= cells.keys()]


def narrowed(scores: Scores) -> Scores:
    """The scores of a window with the likeliest stretches of each span head in place of all, which take half a
    megabyte.

    ``stretches``: (fields, n, 2), the first token and the tokens after it, the likeliest first; ``likely``: (fields,
    n), their probabilities; ``absent``: (fields,), that of no answer.
    """
    if "spans" not in scores:
        return scores
    spans, none = scores["spans"], np.asarray(scores["none"], np.float64)
    flat = spans.reshape(len(spans), -1)
    count = min(_STRETCHES, flat.shape[1])
    places = np.sort(np.argpartition(flat, -count, axis=1)[:, -count:], axis=1)
    odds = np.take_along_axis(flat, places, axis=1).astype(np.float64)
    order = np.argsort(-odds, axis=1, kind="stable")
    places, odds = np.take_along_axis(places, order, axis=1), np.take_along_axis(odds, order, axis=1)
    top = np.maximum(odds[:, 0], none)
    rest = np.exp(flat - top[:, None].astype(flat.dtype)).sum(axis=1, dtype=np.float64)
    total = rest + np.exp(none - top)
    return {
        **{name: value for name, value in scores.items() if name not in ("spans", "none")},
        "stretches": np.stack(np.divmod(places, spans.shape[2]), axis=2),
        "likely": np.exp(odds - top[:, None]) / total[:, None],
        "absent": np.exp(none - top) / total,
    }


def value_of(leaf: Field, stretch: str, document: _Document, spelling: Spelling | None) -> Any:
    """A stretch of a document as the value of a field; None where it has no reading as one."""
    if leaf.type == "string" and leaf.format != "date":
        plain = collapse(stretch)
        return (spelling.apply(plain) if spelling is not None else plain) or None
    value = parse_typed(stretch, leaf, document.text)
    if value is None and leaf.format == "date" and document.order:
        value = parse_typed(stretch, replace(leaf, date_order=document.order), document.text)
    return value


def has_spelling(leaf: Field) -> bool:
    """Whether gold of a field is text whose spelling can be learned."""
    return leaf.type == "string" and leaf.format != "date" and not KINDS[leaf.kind].by_meaning


def _classes(head: Head, number: int, windows: Sequence[TokenWindow], scores: Sequence[Scores]) -> list[Candidate]:
    return _likeliest(head, _over_windows(f"decision.{number}", windows, scores))


def _likeliest(head: Head, scores: Any) -> list[Candidate]:
    """The likeliest classes of a decision, the likeliest first."""
    probabilities = _softmax(scores)
    best = np.argsort(-probabilities, kind="stable")[:_CANDIDATES]
    return [Candidate(head.classes[at], float(probabilities[at])) for at in best.tolist()]


def _choices_of_row(head: Head, scores: Any) -> tuple[Candidate, ...]:
    """The likeliest class of each choice. ``scores``: (classes of all choices,), of the first token of a row."""
    ends = list(itertools.accumulate(len(choice.classes) for choice in head.choices))
    parts = np.split(scores, ends[:-1]) if ends else []
    return tuple(_likeliest(choice, part)[0] for choice, part in zip(head.choices, parts, strict=True))


def _several(
    head: Head, number: int, windows: Sequence[TokenWindow], scores: Sequence[Scores]
) -> tuple[list[Any], float]:
    probabilities = 1 / (1 + np.exp(-_over_windows(f"decision.{number}", windows, scores)))
    chosen = [head.classes[at] for at in range(len(head.classes)) if probabilities[at] >= _LIKELY]
    return chosen, float(np.maximum(probabilities, 1 - probabilities).min())


def _over_windows(name: str, windows: Sequence[TokenWindow], scores: Sequence[Scores]) -> Any:
    """The mean score of the windows, by their tokens."""
    weights = np.array([max(1, len(window.starts)) for window in windows], np.float64)
    stacked = np.stack([np.asarray(score[name], np.float64) for score in scores])
    return (stacked * weights[:, None]).sum(0) / weights.sum()


def _stretches(
    head: Head, number: int, text: str, windows: Sequence[TokenWindow], scores: Sequence[Scores], *, glued: bool
) -> list[_Stretch]:
    """The tagged stretches of a document in reading order; where two windows overlap, the likelier ones."""
    all_stretches: list[_Stretch] = []
    for window, score in zip(windows, scores, strict=True):
        tags = np.asarray(score[f"tags.{number}"], np.float64)
        all_stretches += _window_stretches(head, text, tags, window, glued=glued)
    kept: list[_Stretch] = []
    for stretch in sorted(all_stretches, key=lambda item: (-item.probability, item.start)):
        at = bisect_left(kept, stretch.start, key=_start_of)
        before, after = kept[max(0, at - 1) : at], kept[at : at + 1]
        if all(stretch.end <= other.start or other.end <= stretch.start for other in (*before, *after)):
            kept.insert(at, stretch)
    return kept


def _start_of(stretch: _Stretch) -> int:
    return stretch.start


def _window_stretches(head: Head, text: str, scores: Any, window: TokenWindow, *, glued: bool) -> Iterator[_Stretch]:
    is_rows, width = head.kind == "rows", tag_labels(head)
    inside = scores[window.first : window.first + len(window.starts)]
    starts = 1 / (1 + np.exp(-inside[:, width])) if is_rows else np.zeros(len(inside))
    probabilities = _softmax(inside[:, :width])
    apart = head.has_numbers
    labels = _labels(
        probabilities,
        [is_in_number(text, at) or (not glued and is_in_word(text, at, digits_apart=apart)) for at in window.starts],
    )
    at = 0
    while at < len(labels):
        if labels[at] == 0:
            at += 1
            continue
        label = (int(labels[at]) - 1) // 2
        end = at + 1
        while end < len(labels) and labels[end] == 2 + 2 * label:
            end += 1
        sure = float(np.prod(probabilities[np.arange(at, end), labels[at:end]]) ** (1 / (end - at)))
        begins = bool(starts[at] >= _LIKELY)
        choices = _choices_of_row(head, inside[at, width + 1 :])
        yield _Stretch(window.starts[at], window.ends[end - 1], label, sure, begins, choices)
        at = end


def _labels(probabilities: Any, is_inside: Sequence[bool]) -> Any:
    """The likeliest label of each token: 0 outside, 2n + 1 where a stretch of class n begins, 2n + 2 inside.

    The tokens of a word or number have one class: the likeliest for all of them. ``is_inside``: a token is not its
    first.
    """
    labels = probabilities.argmax(1)
    at = 0
    while at < len(labels):
        end = at + 1
        while end < len(labels) and is_inside[end]:
            end += 1
        if end - at > 1:
            classes = np.concatenate(
                [probabilities[at:end, :1], probabilities[at:end, 1::2] + probabilities[at:end, 2::2]], 1
            )
            best = int(np.log(np.maximum(classes, 1e-12)).sum(0).argmax())
            first = 2 * best - 1 + int(probabilities[at, 2 * best] > probabilities[at, 2 * best - 1]) if best else 0
            labels[at:end] = 2 * best
            labels[at] = first
        at = end
    return labels


def is_in_number(text: str, at: int) -> bool:
    """Whether a number goes on at a character: between two digits, also with a mark or an apostrophe between them."""
    before, after = text[max(0, at - 2) : at], text[at : at + 2]
    if not before or not after:
        return False
    if before[-1].isdecimal():
        return after[0].isdecimal() or (after[0] in _MARKS and after[1:].isdecimal())
    return before[-1] in _MARKS and before[:-1].isdecimal() and after[0].isdecimal()


def _softmax(scores: Any) -> Any:
    odds = np.exp(scores - scores.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def _combinations(choices: Mapping[str, Sequence[Candidate]]) -> Iterator[dict[str, Candidate]]:
    """Combinations of one candidate for each field, by falling product of their probabilities."""
    names = list(choices)
    first = (0,) * len(names)

    def cost(places: tuple[int, ...]) -> float:
        chosen = (choices[name][place].probability for name, place in zip(names, places, strict=True))
        return float(-np.log(np.maximum(list(chosen) or [1.0], 1e-12)).sum())

    queue, seen = [(cost(first), first)], {first}
    while queue:
        _, places = heapq.heappop(queue)
        yield {name: choices[name][place] for name, place in zip(names, places, strict=True)}
        for number, name in enumerate(names):
            after = (*places[:number], places[number] + 1, *places[number + 1 :])
            if after[number] < len(choices[name]) and after not in seen:
                seen.add(after)
                heapq.heappush(queue, (cost(after), after))

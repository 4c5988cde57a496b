"""The scores of single documents, counted again from the outputs and the gold labels.

Each stored outcome is compared with what this module finds in the output, the gold label, the document and the schema.
Three things need more knowledge than a short program has, and are accepted, counted and reported where this module
cannot decide: values in spellings that it does not read, values that are in the document in another spelling than
verbatim, and rules beyond a comparison of sums.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import rules
from .paths import Path, look_up, pattern, scalars, split, text_of, text_of_any
from .schema import Unknown, is_valid
from .values import kind_of, misread, normal, read, resolved, same_value, squeezed, stands_in, types

#: the name of a field that the schema does not have
EXTRA_KEYS = "(extra keys)"
CORRECT = ("correct", "both_absent")
SPELLING, EVIDENCE, RULE, SCHEMA = "spelling", "evidence", "rule", "schema"
#: what was accepted -> its meaning
ACCEPTED = {
    SPELLING: "values that are equal in a spelling that this program does not read",
    EVIDENCE: "wrong values that are neither in their document nor one character off, as far as this program reads it",
    RULE: "outputs whose invariants are beyond this program",
    SCHEMA: "outputs whose validity depends on a keyword that this program does not check",
}


@dataclass
class Findings:
    """What is wrong (sentences), and what was accepted without being counted again."""

    problems: list[str] = field(default_factory=list)
    accepted: Counter[str] = field(default_factory=Counter)
    values: int = 0


class Checker:
    """Checks the stored scores of documents under a schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.found = Findings()

    def check(self, row: dict[str, Any], event: dict[str, Any], stored: dict[str, Any], *, extract: bool) -> None:
        """Checks one document: its row with text and gold, its output, and its stored score. ``extract``: the JSON is
        taken out of the text around it, as for external models."""
        output = self._output(event, extract=extract)
        problems = [f"{row['id']}: {problem}" for problem in self._problems(row, output, stored)]
        self.found.problems += problems
        self.found.values += len(stored["fields"])

    def _output(self, event: dict[str, Any], *, extract: bool) -> dict[str, Any] | None:
        if event.get("finish_reason", "stop") in ("length", "error"):
            return None
        raw = str(event.get("raw") or "")
        return read(raw) or (read(json_in(raw)) if extract else read(raw))

    def _problems(self, row: dict[str, Any], output: dict[str, Any] | None, stored: dict[str, Any]) -> Iterator[str]:
        gold, fields = row["gold"], [Stored(one) for one in stored["fields"]]
        free = [split(path) for path in stored.get("free", ())]
        yield from _unlike_gold(gold, fields, free)
        outcomes = [one.outcome for one in fields]
        if output is None:
            if any(one.output is not None or one.outcome not in ("unscorable", "both_absent") for one in fields):
                yield "the output is not a JSON object, but values of it are scored"
            if stored["schema_valid"] or stored["exact"] or stored["invariants_hold"]:
                yield "the output is not a JSON object, but it counts as valid"
            return
        if not stored["valid_json"]:
            yield "the output is JSON, but does not count as such"
            return
        yield from _unlike_output(output, gold, fields, free)
        valid = self._is_valid(output)
        if valid is not None and valid != stored["schema_valid"]:
            yield f"the output is {'' if valid else 'not '}valid under the schema, but the report says otherwise"
        if stored["exact"] != (stored["schema_valid"] and all(one in CORRECT for one in outcomes)):
            yield "the outcomes of its fields and whether it is an exact match disagree"
        for one in fields:
            yield from self._outcome_problems(one, row["text"], is_valid=bool(stored["schema_valid"]))
        yield from self._rule_problems(output, stored["invariants_hold"])

    def _is_valid(self, output: dict[str, Any]) -> bool | None:
        try:
            return is_valid(output, self.schema, self.schema)
        except (Unknown, ArithmeticError, RecursionError):
            self.found.accepted[SCHEMA] += 1
            return None

    def _outcome_problems(self, one: "Stored", text: str, *, is_valid: bool) -> Iterator[str]:
        gold, output, outcome = one.gold, one.output, one.outcome
        if one.field == EXTRA_KEYS:
            if outcome not in ("extra", "wrong", "missing"):
                yield f"{one.path} is not a field of the schema, and {outcome}"
            return
        if output is None or gold is None:
            expected = "both_absent" if gold is output else "missing" if output is None else "extra"
            if outcome != expected and not (expected == "extra" and outcome == "hallucinated"):
                yield f"{one.path} is {outcome}, and should be {expected}"
        elif (equal := self._are_equal(one)) is None:
            self.found.accepted[SPELLING] += 1
        elif (outcome == "correct") != (equal and self._may_be_correct(one)) and (is_valid or outcome == "correct"):
            yield f"{one.path} is {outcome}: gold {text_of_any(gold)}, output {text_of_any(output)}"
        if outcome in ("wrong", "extra", "hallucinated"):
            schema = self._schema_at(one.steps)
            if schema is None or not is_copied(schema) or isinstance(output, dict | list):
                return
            if outcome == "hallucinated":
                if is_verbatim(output, text):
                    yield f"{one.path} is hallucinated, but {text_of_any(output)} is in the document"
            elif not stands_in(output, schema, text) and not misread(output, gold, schema, text, []):
                self.found.accepted[EVIDENCE] += 1

    def _are_equal(self, one: "Stored") -> bool | None:
        """Whether gold and output are equal; None where that depends on a spelling that is not read here."""
        if text_of_any(one.gold) == text_of_any(one.output):
            return True
        schema = self._schema_at(one.steps)
        if schema is None or isinstance(one.gold, dict | list) or isinstance(one.output, dict | list):
            return False if one.outcome != "correct" else None
        if same_value(one.gold, one.output, schema, self.schema):
            return True
        return (
            None
            if one.outcome == "correct" and not all(is_plain(value, schema) for value in (one.gold, one.output))
            else False
        )

    def _may_be_correct(self, one: "Stored") -> bool:
        """Whether an output value does not violate the schema of its own field: one that does is wrong."""
        schema = self._declared_at(one.steps)
        try:
            return schema is None or is_valid(one.output, schema, self.schema)
        except (Unknown, ArithmeticError, RecursionError):
            return True

    def _declared_at(self, path: Path) -> Any:
        """The schema of a field as it is written; None where it is reached by other ways than names and rows."""
        schema: Any = self.schema
        try:
            for step in path:
                schema = resolved(schema, self.schema)
                schema = schema["items"] if isinstance(step, int) else schema["properties"][step]
        except (KeyError, TypeError, AttributeError, RecursionError):
            return None
        return schema

    def _schema_at(self, path: Path) -> dict[str, Any] | None:
        """The resolved schema of a field; None where there are several, or it is not found."""
        try:
            schema = resolved(self._declared_at(path), self.schema)
        except (KeyError, TypeError, AttributeError, RecursionError):
            return None
        return None if any(word in schema for word in ("anyOf", "oneOf", "allOf", "if")) else schema

    def _rule_problems(self, output: dict[str, Any], stored: bool | None) -> Iterator[str]:
        if stored is None:
            return
        held = rules.hold(self.schema, output)
        if held is None:
            self.found.accepted[RULE] += 1
        elif held != stored:
            yield f"the output {'satisfies' if held else 'violates'} its invariants, but the report says otherwise"


class Stored:
    """The stored outcome of one field."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.path = str(values["path"])
        self.field = str(values["field"])
        self.outcome = str(values["outcome"])
        self.gold = values["gold"]
        self.output = values["output"]
        self.steps = split(self.path)


def is_plain(value: Any, schema: dict[str, Any]) -> bool:
    """Whether this module reads a value as any other program would: no month in another language, no rare letter."""
    if not isinstance(value, str):
        return True
    if kind_of(schema) in ("date", "money", "number"):
        return bool(normal(value, schema)[0] != "unread")
    return value.isascii()


def is_verbatim(value: Any, text: str) -> bool:
    """Whether a value is in a text as it is, between white space or punctuation."""
    wanted = squeezed(value if isinstance(value, str) else text_of_any(value))
    return bool(wanted) and re.search(rf"(?<!\S){re.escape(wanted)}(?![^\s,;:.)])", squeezed(text)) is not None


def is_copied(schema: dict[str, Any]) -> bool:
    """Whether a value of a field should be in the document."""
    declared = schema.get("x-slm", {}).get("evidence")
    if declared is not None:
        return bool(declared != "none")
    return kind_of(schema) not in ("class", "free") and bool(types(schema) & {"string", "number", "integer"})


def json_in(raw: str) -> str:
    """The JSON object in an output with text around it: after its reasoning, in a fence or between the outer braces."""
    for tag in ("</think>", "</thinking>"):
        raw = raw.partition(tag)[2] if tag in raw and not raw.lstrip().startswith("{") else raw
    if raw.lstrip().startswith(("<think>", "<thinking>")):
        return ""
    if "```" in raw:
        inner = raw.split("```")[1]
        raw = inner.partition("\n")[2]
    start, end = raw.find("{"), raw.rfind("}")
    return raw[start : end + 1] if 0 <= start < end else raw


def _unlike_gold(gold: Any, fields: list[Stored], free: list[Path]) -> Iterator[str]:
    """Differences of the stored gold values from gold: one that is not there, and one that was left out."""
    covered = set(free)
    for one in fields:
        if one.field == EXTRA_KEYS:
            continue
        covered.add(one.steps)
        if text_of_any(look_up(gold, one.steps)) != text_of_any(one.gold):
            yield f"{one.path}: the scored gold value is not the one of the dataset"
    unknown = {pattern(one.steps) for one in fields if one.field == EXTRA_KEYS}
    for path, _ in scalars(gold):
        is_covered = any(path[:length] in covered for length in range(len(path) + 1)) or _is_below(path, unknown)
        # A name that the schema does not have, with the same value in the output, is no field.
        if not is_covered and any(pattern(one.steps) == pattern(path) for one in fields):
            yield f"{path}: the gold value is not scored"


def _is_below(path: Path, patterns: set[tuple[str, ...]]) -> bool:
    mine = pattern(path)
    return any(mine[: len(one)] == one for one in patterns)


def _unlike_output(output: Any, gold: Any, fields: list[Stored], free: list[Path]) -> Iterator[str]:
    """Differences of the stored output values from the output. Rows of lists are numbered as in gold, so rows are
    compared as a whole, in any order. A value that is not scored must be free text or equal gold's."""
    unknown = {one.steps for one in fields if one.field == EXTRA_KEYS}
    known = {pattern(one.steps) for one in fields if one.field != EXTRA_KEYS}
    hidden = {pattern(path) for path in free}
    ours: dict[Path, list[tuple[Any, str]]] = {}
    rest: Counter[tuple[Any, str]] = Counter()
    for path, value in scalars(output):
        if any(path[:length] in unknown for length in range(len(path) + 1)):
            continue
        if _is_below(path, known):
            ours.setdefault(_row(path), []).append((pattern(path), text_of(value)))
        elif not _is_below(path, hidden):
            rest[pattern(path), text_of(value)] += 1
    theirs: dict[Path, list[tuple[Any, str]]] = {}
    for one in fields:
        if one.field != EXTRA_KEYS:
            for below, value in scalars(one.output, one.steps):
                theirs.setdefault(_row(below), []).append((pattern(below), text_of(value)))
    left, right = (Counter(tuple(sorted(items)) for items in found.values()) for found in (ours, theirs))
    for items in (left - right) + (right - left):
        yield f"the scored output values are not those of the output, such as {items[0][1][:80]}"
        break
    rest -= Counter((pattern(path), text_of(value)) for path, value in scalars(gold))
    for _, text in rest:
        yield f"the value {text[:80]} of the output is not scored"


def _row(path: Path) -> Path:
    """The row of the outermost list that a path is in; () outside of lists."""
    place = next((at for at, step in enumerate(path) if isinstance(step, int)), None)
    return () if place is None else path[: place + 1]

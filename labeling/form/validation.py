"""Validates a value and finds it in the document. Pure; called on every change and on submit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from labeling.form.codec import Parsed, leaf_values
from labeling.form.evidence_places import Place, SoughtValue, find_places
from labeling.form.merge import MISSING, value_at
from labeling.form.nodes import MORE, FormNode, children_with_values
from labeling.form.tree import tree_of
from slmstudio.contract.json_text import dumps, sha256
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema, ValueProblem, pattern_of
from slmstudio.contract.schema.structure import join
from slmstudio.contract.values.kinds.values import ambiguity, date_readings, incomplete_date


def empty_optional_fields(node: FormNode, value: Any, path: str = "") -> Iterator[str]:
    """The paths of empty optional fields, in the order of the form.

    An absent group counts once. Empty required fields are problems of the schema.
    """
    if value is None or node.is_leaf:
        return
    if node.shape == "group":
        if not isinstance(value, dict):
            return
        for child in node.children:
            if child.key != MORE and child.key not in value and not child.required and not child.fixed:
                yield join(path, child.key)
    for here, inner, inside in children_with_values(node, value, path):
        yield from empty_optional_fields(inner, inside, here)


def is_marked_absent(evidence: Any, path: str) -> bool:
    """Whether an empty field is marked as not in the document."""
    place = evidence.get(path) if isinstance(evidence, dict) else None
    return isinstance(place, dict) and place.get("absent") is True


def unanswered_fields(node: FormNode, value: Any, evidence: Any) -> list[str]:
    """The empty optional fields that are not marked as absent."""
    return [path for path in empty_optional_fields(node, value) if not is_marked_absent(evidence, path)]


def with_absent_evidence(node: FormNode, value: Any, evidence: dict[str, Any]) -> dict[str, Any]:
    """The evidence with all empty optional fields marked as absent, for predictions, imports and programs."""
    marks = {path: {**evidence.get(path, {}), "absent": True} for path in empty_optional_fields(node, value)}
    return {**evidence, **marks}


#: maximum number of matches of a value that are sent to the browser
MAX_SPANS = 20


@dataclass(slots=True)
class Checks:
    """``problems`` make the value invalid. ``warnings`` must be confirmed before a submit: broken invariants (rule
    "invariant") and values that are not in the document (rule "evidence").

    ``evidence``: path -> the span of the value (``{"start", "end"}``), or its confirmation (``{"confirmed": true, "of":
    "its JSON text"}``). ``spans``: every match. ``missing``: the JSON text of values that are not in the document,
    confirmed or not. Offsets count characters.

    ``readings``: the possible dates of an ambiguous one.

    ``broken_invariants``: path -> fingerprint -> message, confirmed or not. The evidence of a confirmed one is
    ``{"doubts": [fingerprint]}``; a program can send ``true`` to confirm all of a path.

    ``unanswered``: empty optional fields that are not marked as absent (``{"absent": true}`` in the evidence; see
    ``labeling.form.validation``).

    A pre-filled field that the user confirmed has ``"seen"``: the JSON text of its value, "" for none. The browser
    sends ``true``; a change of the value ends it.
    """

    problems: list[ValueProblem] = field(default_factory=list)
    warnings: list[ValueProblem] = field(default_factory=list)
    evidence: dict[str, dict[str, Any]] = field(default_factory=dict)
    spans: dict[str, list[Place]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    readings: dict[str, list[str]] = field(default_factory=dict)
    broken_invariants: dict[str, dict[str, str]] = field(default_factory=dict)
    unanswered: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether the schema accepts the value."""
        return not self.problems

    @property
    def unconfirmed(self) -> list[ValueProblem]:
        """Unconfirmed values that are not in the document."""
        return [warning for warning in self.warnings if warning.rule == "evidence"]

    def is_confirmed(self, broken: invariants.BrokenInvariant, value: Any) -> bool:
        """Whether this broken invariant is confirmed with its current values."""
        confirmed = self.evidence.get(broken.problem.path, {}).get("doubts", ())
        return _invariant_fingerprint(broken, value) in confirmed

    def mark_rest_absent(self) -> None:
        """Marks all empty optional fields as absent, for a label from a program."""
        for path in self.unanswered:
            self.evidence.setdefault(path, {})["absent"] = True
        self.unanswered = []


def check(compiled: CompiledSchema, parsed: Parsed, text: str, given: Mapping[str, Any]) -> Checks:
    """Checks a value against schema, invariants and document. ``given``: the evidence from the browser. Spans that do
    not contain the value count only if it is not in the document and the user selected them (``"by": "hand"``).
    """
    own = tuple(problem.path for problem in parsed.problems)
    broken = [problem for problem in compiled.validate(parsed.value) if not _within(problem.path, own)]
    checks = Checks()
    checks.problems = [
        *parsed.problems,
        *(_date_problem(checks, compiled, parsed.value, text, problem) for problem in broken),
    ]
    wrong = {problem.path for problem in checks.problems}
    sought = [leaf for leaf in _with_evidence(compiled, parsed.value) if leaf[0] not in wrong]
    for path, sought_value in find_places(sought, text, given).items():
        _record_place(checks, sought_value, given.get(path))
    _record_invariants(checks, compiled, parsed.value, given)
    _record_confirmed(checks, parsed.value, given)
    for path in empty_optional_fields(tree_of(compiled), parsed.value):
        if is_marked_absent(given, path):
            checks.evidence.setdefault(path, {})["absent"] = True
        else:
            checks.unanswered.append(path)
    return checks


def _with_evidence(compiled: CompiledSchema, value: Any) -> Iterator[tuple[str, FormNode, Any]]:
    """Path, node and value of the leaves that should be in the document."""
    for path, node, inner in leaf_values(tree_of(compiled), value):
        if node.wants_evidence and isinstance(inner, str | int | Decimal) and not isinstance(inner, bool):
            yield path, node, inner


def chosen_evidence(compiled: CompiledSchema, value: Any, text: str, evidence: Mapping[str, Any]) -> dict[str, Place]:
    """The evidence of a label that differs from what is found without it: a person chose it. By path, with the evidence
    of all values of the same row.
    """
    if not any("start" in place for place in evidence.values()):
        return {}
    sought = list(_with_evidence(compiled, value))
    found, chosen = find_places(sought, text, {}), find_places(sought, text, evidence)
    rows = {cell.row for path, cell in chosen.items() if cell.place != found[path].place}
    return {path: cell.place for path, cell in chosen.items() if cell.row in rows and cell.place is not None}


def _record_invariants(checks: Checks, compiled: CompiledSchema, value: Any, given: Mapping[str, Any]) -> None:
    """Stores broken invariants; those confirmed with their current values are no warnings."""
    open_ones = []
    for broken in invariants.broken(compiled, value):
        path, digest = broken.problem.path, _invariant_fingerprint(broken, value)
        checks.broken_invariants.setdefault(path, {})[digest] = broken.problem.message
        sent = given.get(path)
        confirmed = sent.get("doubts") if isinstance(sent, dict) else None
        if confirmed is True or (isinstance(confirmed, list) and digest in confirmed):
            checks.evidence.setdefault(path, {}).setdefault("doubts", []).append(digest)
        else:
            open_ones.append(broken.problem)
    checks.warnings[:0] = open_ones


def _invariant_fingerprint(broken: invariants.BrokenInvariant, value: Any) -> str:
    """A hash of a broken invariant with its values: a change of a value needs a new confirmation."""
    values = [value_at(value, path) for path in broken.paths]
    present = [None if read is MISSING else read for read in values]
    return sha256(dumps([broken.problem.message, list(broken.paths), present]))[:16]


def _date_problem(
    checks: Checks, compiled: CompiledSchema, value: Any, text: str, problem: ValueProblem
) -> ValueProblem:
    """The problem; for an ambiguous date the question which reading is meant, for an incomplete one what is missing."""
    wanted = compiled.by_pattern.get(pattern_of(problem.path)) if problem.rule == "format" else None
    typed = value_at(value, problem.path) if wanted is not None else None
    if wanted is None or not isinstance(typed, str):
        return problem
    if message := ambiguity(typed, wanted, text):
        checks.readings[problem.path] = [day.isoformat() for day in date_readings(typed, wanted, text)]
        return ValueProblem(problem.path, "ambiguous", message)
    return ValueProblem(problem.path, problem.rule, incomplete_date(typed, wanted) or problem.message)


def _record_confirmed(checks: Checks, value: Any, given: Mapping[str, Any]) -> None:
    """Stores which pre-filled fields the user confirmed."""
    for path, sent in given.items():
        seen = sent.get("seen") if isinstance(sent, dict) else None
        if seen is None:
            continue
        try:
            here = value_at(value, path)
        except ValueError:  # an invalid path from the browser
            continue
        now = "" if here is MISSING else dumps(here)
        if seen is True or seen == now:
            checks.evidence.setdefault(path, {})["seen"] = now


def _within(path: str, places: tuple[str, ...]) -> bool:
    """Whether a path is at or below one of these: an empty row has no further problems."""
    return any(path == place or path.startswith((f"{place}.", f"{place}[")) for place in places)


def _record_place(checks: Checks, sought: SoughtValue, given: Any) -> None:
    """Stores the place of a value in the text, or that it is missing."""
    path, matches, place = sought.path, sought.matches.places, sought.place
    if place is not None:
        checks.evidence[path] = {"start": place[0], "end": place[1]}
        if place not in matches:
            checks.evidence[path]["by"] = "hand"
    if matches:
        checks.spans[path] = _listed_spans(matches, place)
        return
    checks.missing[path] = dumps(sought.value)
    if isinstance(given, dict) and given.get("confirmed") is True and given.get("of") == dumps(sought.value):
        checks.evidence.setdefault(path, {}).update(confirmed=True, of=dumps(sought.value))
    else:
        checks.warnings.append(ValueProblem(path, "evidence", "is not in the document"))


def _listed_spans(matches: list[Place], place: Place | None) -> list[Place]:
    shown = matches[:MAX_SPANS]
    return shown if place is None or place in shown or place not in matches else [*shown[:-1], place]

"""What is wrong with a value, and where in the document it stands. Pure; called on every change and on submit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from labeling.form.codec import Parsed, leaf_values
from labeling.form.merge import MISSING, value_at
from labeling.form.tree import FormNode, tree_of
from labeling.form.unanswered import is_answered, left_open
from slmstudio.contract.json_text import dumps, sha256
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema, Problem, pattern_of
from slmstudio.contract.values import evidence as finder
from slmstudio.contract.values.kinds.values import ambiguity, date_readings

#: matches of one value that are sent to the browser
MOST_SPANS = 20

Place = tuple[int, int]


@dataclass(slots=True)
class Checks:
    """``problems`` make the value invalid; ``warnings`` do not, but a person must confirm them before a label counts:
    broken invariants (rule "invariant"), and values that are nowhere in the document (rule "evidence").

    ``evidence`` is per path where the value stands (``{"start", "end"}``) or that it was confirmed
    (``{"confirmed": true, "of": "its JSON text"}``); ``spans`` has every match, ``missing`` the JSON text of every
    value that is not in the document, confirmed or not. Offsets count characters.

    ``readings`` has the dates that an ambiguous one can mean.

    ``doubts`` has the broken invariants of each path, confirmed or not: the digest of what is broken, with its message.
    A confirmed one stands in the evidence: ``{"doubts": [digest]}``; the browser sends digests, a program may send
    ``true`` for all that are broken there.

    ``unanswered``: optional fields that hold nothing and of which nobody said that they are not in the document
    (``{"absent": true}`` in the evidence; see ``labeling.form.unanswered``).

    What a person looked at and found right carries ``"seen"``: the JSON text of the value they saw, "" for none. The
    browser says ``true``; a value that changed since is not seen any more.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    evidence: dict[str, dict[str, Any]] = field(default_factory=dict)
    spans: dict[str, list[Place]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    readings: dict[str, list[str]] = field(default_factory=dict)
    doubts: dict[str, dict[str, str]] = field(default_factory=dict)
    unanswered: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether the schema accepts the value."""
        return not self.problems

    @property
    def unconfirmed(self) -> list[Problem]:
        """Values that are not in the document and that nobody has confirmed."""
        return [warning for warning in self.warnings if warning.rule == "evidence"]

    def is_confirmed(self, broken: invariants.BrokenInvariant, value: Any) -> bool:
        """Whether a person confirmed this broken invariant as it stands."""
        confirmed = self.evidence.get(broken.problem.path, {}).get("doubts", ())
        return _digest(broken, value) in confirmed

    def answer_all(self) -> None:
        """What is absent is not in the document: the label comes from a program, which has nothing to be asked."""
        for path in self.unanswered:
            self.evidence.setdefault(path, {})["absent"] = True
        self.unanswered = []


def check(compiled: CompiledSchema, parsed: Parsed, text: str, given: Mapping[str, Any]) -> Checks:
    """Checks a value against schema, invariants and document. ``given`` is the evidence as the browser sent it: spans
    that do not hold the value count only where it is found nowhere and a person chose them (``"by": "hand"``).
    """
    own = tuple(problem.path for problem in parsed.problems)
    broken = [problem for problem in compiled.validate(parsed.value) if not _within(problem.path, own)]
    checks = Checks()
    checks.problems = [*parsed.problems, *(_ambiguous(checks, compiled, parsed.value, text, one) for one in broken)]
    search = _Search(text)
    wrong = {problem.path for problem in checks.problems}
    for path, node, value in leaf_values(tree_of(compiled), parsed.value):
        scalar = isinstance(value, str | int | Decimal) and not isinstance(value, bool)
        if node.wants_evidence and scalar and path not in wrong:
            _place(checks, path, node, value, given.get(path), search)
    _note_invariants(checks, compiled, parsed.value, given)
    _note_seen(checks, parsed.value, given)
    for path in left_open(tree_of(compiled), parsed.value):
        if is_answered(given, path):
            checks.evidence.setdefault(path, {})["absent"] = True
        else:
            checks.unanswered.append(path)
    return checks


def _note_invariants(checks: Checks, compiled: CompiledSchema, value: Any, given: Mapping[str, Any]) -> None:
    """Notes broken invariants: those that a person confirmed, as they are broken now, are no warnings."""
    open_ones = []
    for broken in invariants.broken(compiled, value):
        path, digest = broken.problem.path, _digest(broken, value)
        checks.doubts.setdefault(path, {})[digest] = broken.problem.message
        said = given.get(path)
        confirmed = said.get("doubts") if isinstance(said, dict) else None
        if confirmed is True or (isinstance(confirmed, list) and digest in confirmed):
            checks.evidence.setdefault(path, {}).setdefault("doubts", []).append(digest)
        else:
            open_ones.append(broken.problem)
    checks.warnings[:0] = open_ones


def _digest(broken: invariants.BrokenInvariant, value: Any) -> str:
    """What is broken, with the values that break it: once one changes, it is another doubt."""
    values = [value_at(value, path) for path in broken.paths]
    said = [None if found is MISSING else found for found in values]
    return sha256(dumps([broken.problem.message, list(broken.paths), said]))[:16]


def _ambiguous(checks: Checks, compiled: CompiledSchema, value: Any, text: str, problem: Problem) -> Problem:
    """The problem, or where a date can be read in several ways, the question which one is meant."""
    wanted = compiled.by_pattern.get(pattern_of(problem.path)) if problem.rule == "format" else None
    typed = value_at(value, problem.path) if wanted is not None else None
    if wanted is None or not isinstance(typed, str) or not (message := ambiguity(typed, wanted, text)):
        return problem
    checks.readings[problem.path] = [day.isoformat() for day in date_readings(typed, wanted, text)]
    return Problem(problem.path, "ambiguous", message)


def _note_seen(checks: Checks, value: Any, given: Mapping[str, Any]) -> None:
    """Keeps what a person said of pre-filled fields: that they are right."""
    for path, said in given.items():
        seen = said.get("seen") if isinstance(said, dict) else None
        if seen is None:
            continue
        try:
            here = value_at(value, path)
        except ValueError:  # not a path: the browser's, so it may be anything
            continue
        now = "" if here is MISSING else dumps(here)
        if seen is True or seen == now:
            checks.evidence.setdefault(path, {})["seen"] = now


def _within(path: str, places: tuple[str, ...]) -> bool:
    """Whether a path is one of the places or lies below one: of an empty row nothing more need be said."""
    return any(path == place or path.startswith((f"{place}.", f"{place}[")) for place in places)


@dataclass(slots=True)
class _Search:
    """A document whose values are looked for: what was found, each value once, for each row, and what is taken."""

    text: str
    known: dict[tuple[int, str], list[Place]] = field(default_factory=dict)
    rows: dict[str, list[Place]] = field(default_factory=dict)
    taken: set[Place] = field(default_factory=set)

    def find(self, value: Any, node: FormNode) -> list[Place]:
        """Every place where a value stands. A long grid has the same numbers again and again."""
        assert node.field is not None
        key = (id(node.field), dumps(value))
        if key not in self.known:
            self.known[key] = [(span.start, span.end) for span in finder.find(value, node.field, self.text)]
        return self.known[key]


def _place(checks: Checks, path: str, node: FormNode, value: Any, given: Any, search: _Search) -> None:
    """Finds one value in the text and notes where it stands, or that it does not."""
    found = search.find(value, node)
    row = path[: path.rfind("]") + 1]
    neighbours = search.rows.setdefault(row, []) if row else []
    chosen = _given_place(given, found, len(search.text)) or _nearest(found, neighbours, search.taken)
    if chosen is not None:
        checks.evidence[path] = {"start": chosen[0], "end": chosen[1]}
        if chosen not in found:
            checks.evidence[path]["by"] = "hand"
        neighbours.append(chosen)
        search.taken.add(chosen)
    if found:
        checks.spans[path] = _shown(found, chosen)
        return
    checks.missing[path] = dumps(value)
    if isinstance(given, dict) and given.get("confirmed") is True and given.get("of") == dumps(value):
        checks.evidence.setdefault(path, {}).update(confirmed=True, of=dumps(value))
    else:
        checks.warnings.append(Problem(path, "evidence", "is not in the document"))


def _given_place(given: Any, found: list[Place], length: int) -> Place | None:
    if not isinstance(given, dict):
        return None
    start, end = given.get("start"), given.get("end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= length:
        return None
    by_hand = not found and given.get("by") == "hand"
    return (start, end) if (start, end) in found or by_hand else None


def _nearest(found: list[Place], neighbours: list[Place], taken: set[Place]) -> Place | None:
    """The match that most likely is meant: near what was found for the same row, else the first that is free."""
    if not found:
        return None
    free = [place for place in found if place not in taken] or found
    if neighbours:
        anchor = neighbours[0][0]
        return min(free, key=lambda place: (abs(place[0] - anchor), place[0]))
    return free[0]


def _shown(found: list[Place], chosen: Place | None) -> list[Place]:
    shown = found[:MOST_SPANS]
    return shown if chosen is None or chosen in shown or chosen not in found else [*shown[:-1], chosen]

"""A second opinion: the figures of an evaluation, worked out by a script that shares no line with the studio.

Written from the protocol in words (what counts as right, outcomes, denominators) and from the public definitions of
SROIE task 3 and of Donut's CORD scores, before the studio's own scorer was read. It reads three files and nothing else:
the JSON Schema, the dataset (``id``, ``text``, ``gold``, ``tags``, ``split``), the run's outputs (``id``, ``raw``,
``finish_reason``).

    python tests/evaluation/independent_scorer.py schema.json dataset.jsonl outputs.jsonl [split]

It is plain rather than fast: one document after the other, one value after the other. Where the words leave a choice it
was brought into line afterwards, so that on these the two do not confirm each other: from how many characters on a near
miss is one, what was cut off is invalid, a value that breaks the schema is wrong or invented and no decision
(``docs/schema.md`` says the first two), an output that cannot be scored counts as given for the class in gold, ANLS is
over the texts in gold, SROIE takes a number with the digits it was written with. Rows are paired by the best assignment
alone, so that of rows that share little it says "wrong" where the studio says "missing" and "extra"; precision and
recall are the same either way.
"""

import ast
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
from rapidfuzz.distance import Levenshtein
from scipy.optimize import linear_sum_assignment

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.evaluation.independent_protocols import SROIE_FIELDS, cord, prf, sroie
from tests.evaluation.independent_values import (
    as_date,
    kind_of,
    misread,
    read,
    resolved,
    same_value,
    stands_in,
    types,
)

CORRECT, WRONG, MISSING, EXTRA = "correct", "wrong", "missing", "extra"
HALLUCINATED, ABSENT, UNSCORABLE = "hallucinated", "both_absent", "unscorable"

Place = tuple[Any, ...]
Pair = tuple[str, Place, dict[str, Any], Any, Any]


# ---- fields of a document ------------------------------------------------------------------------------------------


def leaves(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str = "") -> Iterator[Any]:
    """Every single value that a schema declares: (path, its schema, the value or None), rows of lists one by one."""
    schema = resolved(schema, root)
    if "properties" in schema:
        for name, below in schema["properties"].items():
            inner = value.get(name) if isinstance(value, dict) else None
            yield from leaves(inner, below, root, f"{path}.{name}" if path else name)
    elif "array" in types(schema):
        for row in value if isinstance(value, list) else []:
            yield from leaves(row, schema["items"], root, f"{path}[]")
    elif kind_of(schema) != "free":
        yield path, schema, value


def alike(one: Any, other: Any, schema: dict[str, Any], root: dict[str, Any]) -> float:
    """How alike two rows are: the share of their values that are equal; among equals, the nearer in spelling."""
    equal = near = count = 0.0
    pairs = zip(leaves(one, schema, root), leaves(other, schema, root), strict=False)
    for (_, below, a), (_, _, b) in pairs:
        if a is None and b is None:
            continue
        count += 1
        if a is not None and b is not None:
            equal += same_value(a, b, below, root)
            near += Levenshtein.normalized_similarity(str(a), str(b))
    return (equal + near / 1000) / count if count else 0.0


def pairs_of(
    gold: Any, output: Any, schema: dict[str, Any], root: dict[str, Any], path: str = "", place: Place = ()
) -> Iterator[Pair]:
    """Gold and output side by side: (path, place in the output, schema of the value, gold value, output value)."""
    schema = resolved(schema, root)
    if "properties" in schema:
        for name, below in schema["properties"].items():
            ours = gold.get(name) if isinstance(gold, dict) else None
            theirs = output.get(name) if isinstance(output, dict) else None
            yield from pairs_of(ours, theirs, below, root, f"{path}.{name}" if path else name, (*place, name))
    elif "array" in types(schema):
        ours = gold if isinstance(gold, list) else []
        theirs = output if isinstance(output, list) else []
        for row, column in rows_paired(ours, theirs, schema, root):
            one = None if row is None else ours[row]
            other = None if column is None else theirs[column]
            yield from pairs_of(one, other, schema["items"], root, f"{path}[]", (*place, column))
    elif kind_of(schema) != "free":
        yield path, place, schema, gold, output


def rows_paired(ours: list[Any], theirs: list[Any], schema: dict[str, Any], root: dict[str, Any]) -> list[Any]:
    """Numbers of rows that belong together, None for a row that has no other."""
    if schema.get("x-slm", {}).get("order") == "ordered" or not (ours and theirs):
        matched = list(zip(range(len(ours)), range(len(theirs)), strict=False))
    else:
        table = [[alike(one, other, schema["items"], root) for other in theirs] for one in ours]
        rows, columns = linear_sum_assignment(table, maximize=True)
        matched = list(zip(rows.tolist(), columns.tolist(), strict=True))
    alone = [(row, None) for row in range(len(ours)) if row not in {row for row, _ in matched}]
    more = [(None, column) for column in range(len(theirs)) if column not in {column for _, column in matched}]
    return [*matched, *alone, *more]


def copied(schema: dict[str, Any]) -> bool:
    """Whether a value is due in the document: texts, numbers and dates, where the schema does not say otherwise."""
    said = schema.get("x-slm", {}).get("evidence")
    if said is not None:
        return bool(said != "none")
    return kind_of(schema) != "class" and bool(types(schema) & {"string", "number", "integer"})


def outcome(
    schema: dict[str, Any],
    gold: Any,
    output: Any,
    text: str,
    broken: bool,
    root: dict[str, Any],
    others: list[Any],
) -> str:
    """What became of one value; ``broken`` where it breaks the schema. What is one character off is not invented.
    ``others``: gold of the other fields."""
    if gold is None and output is None:
        return ABSENT
    if output is None:
        return MISSING
    if gold is not None and not broken and same_value(gold, output, schema, root):
        return CORRECT
    if copied(schema) and not stands_in(output, schema, text) and not misread(output, gold, schema, text, others):
        return HALLUCINATED
    return EXTRA if gold is None else WRONG


# ---- the document as a whole ---------------------------------------------------------------------------------------


def complete(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether every required key is there, at every depth."""
    schema = resolved(schema, root)
    if isinstance(value, dict):
        if any(name not in value for name in schema.get("required", [])):
            return False
        below = schema.get("properties", {})
        return all(complete(item, below[name], root) for name, item in value.items() if name in below)
    if isinstance(value, list):
        return all(complete(item, schema.get("items", {}), root) for item in value)
    return True


def unlisted(gold: Any, output: Any, schema: dict[str, Any], root: dict[str, Any]) -> Counter[str]:
    """What becomes of keys that the schema does not declare, at any depth: those that the output alone has are extra,
    those of both with other values are wrong, and those of gold alone are missing where the schema says what other
    keys hold. There null is as good as no key. ``said`` and ``gold``: how many of these values are not null."""
    schema = resolved(schema, root)
    found: Counter[str] = Counter()
    if "properties" in schema:
        below = schema["properties"]
        ours, theirs = (value if isinstance(value, dict) else {} for value in (gold, output))
        opened = schema.get("additionalProperties", False) is not False or "patternProperties" in schema
        for name, item in below.items():
            found += unlisted(ours.get(name), theirs.get(name), item, root)
        for name in theirs.keys() - below.keys():
            if opened and theirs[name] is None and ours.get(name) is None:
                continue
            if name not in ours:
                found.update([EXTRA, "said"])
            elif ours[name] != theirs[name]:
                found.update([WRONG, *["said"] * (theirs[name] is not None), *["gold"] * (ours[name] is not None)])
        for name in ours.keys() - below.keys() - theirs.keys() if opened else ():
            if ours[name] is not None:
                found.update([MISSING, "gold"])
    elif "array" in types(schema) and isinstance(output, list):
        rows = gold if isinstance(gold, list) else []
        for row, column in rows_paired(rows, output, schema, root):
            if column is not None:
                found += unlisted(None if row is None else rows[row], output[column], schema["items"], root)
    return found


def invariants_of(schema: dict[str, Any]) -> list[tuple[str, Decimal]]:
    """The rules at the top of the contract with their tolerances."""
    options = schema.get("x-slm", {})
    common = options.get("tolerance", 0)
    rules = [{"rule": one} if isinstance(one, str) else one for one in options.get("invariants", [])]
    return [(one["rule"], Decimal(str(one.get("tolerance", common)))) for one in rules]


def holds(rule: str, tolerance: Decimal, output: dict[str, Any], root: dict[str, Any]) -> bool | None:
    """Whether a rule holds; None where a value it speaks of is not there."""
    names: dict[str, Any] = {}

    def stand_in(found: re.Match[str]) -> str:
        if found[0] in ("sum", "min", "max", "abs", "count", "and", "or", "not"):
            return found[0]
        name = f"v{len(names)}"
        names[name] = [
            as_date(value, None) if kind_of(schema) == "date" else value
            for path, schema, value in leaves(output, root, root)
            if path == found[0] and value is not None
        ]
        if "[]" not in found[0]:
            names[name] = names[name][0] if names[name] else None
        return name

    tree = ast.parse(re.sub(r"[A-Za-z_][\w.]*(?:\[\][\w.]*)*", stand_in, rule), mode="eval").body
    if any(value is None or value == [] for value in names.values()):
        return None
    assert isinstance(tree, ast.Compare), f"{rule}: one comparison is all that this script reads"
    functions = {"sum": lambda xs: sum(xs, Decimal(0)), "min": min, "max": max, "abs": abs, "count": len}

    def value_of(node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), "rule", "eval"), {"__builtins__": {}}, {**names, **functions})

    left, right = value_of(tree.left), value_of(tree.comparators[0])
    if isinstance(left, date):
        gap = Decimal((left - right).days)
    else:
        gap = Decimal(str(left)) - Decimal(str(right))
    answers = {
        ast.Eq: abs(gap) <= tolerance,
        ast.NotEq: abs(gap) > tolerance,
        ast.GtE: gap >= -tolerance,
        ast.LtE: gap <= tolerance,
        ast.Gt: gap > -tolerance if tolerance else gap > 0,
        ast.Lt: gap < tolerance if tolerance else gap < 0,
    }
    return bool(answers[type(tree.ops[0])])


# ---- sums ----------------------------------------------------------------------------------------------------------


def of_field(counts: Counter[str]) -> dict[str, Any]:
    """Figures of a field. An output that cannot be scored stays in every denominator; both absent stays out."""
    lost = counts[UNSCORABLE]
    wrong = counts[WRONG] + counts["hallucinated, gold has one"]
    more = counts[EXTRA] + counts["hallucinated, gold has none"]
    figures = prf(
        counts[CORRECT], counts[CORRECT] + wrong + more + lost, counts[CORRECT] + wrong + counts[MISSING] + lost
    )
    total = figures["gold"] + more
    outcomes = {
        CORRECT: counts[CORRECT],
        WRONG: counts[WRONG],
        MISSING: counts[MISSING],
        EXTRA: counts[EXTRA],
        HALLUCINATED: counts["hallucinated, gold has one"] + counts["hallucinated, gold has none"],
        ABSENT: counts[ABSENT],
        UNSCORABLE: lost,
    }
    return {**figures, "n": total, "rate": counts[CORRECT] / total if total else None, "outcomes": outcomes}


def of_classes(confusion: Counter[tuple[str, str]], lost: Counter[str]) -> dict[str, Any]:
    """Precision, recall and F1 of every class, the matrix itself ((gold, said) -> how often; "" where nothing is said),
    and how often there is a decision and it is right. ``lost``: how often an output that cannot be scored owes a class.
    """
    per_class = {}
    for name in sorted({name for pair in confusion for name in pair if name}):
        said = sum(count for (_, output), count in confusion.items() if output == name) + lost[name]
        truth = sum(count for (gold, _), count in confusion.items() if gold == name)
        per_class[name] = prf(confusion[name, name], said, truth)
    return {
        "classes": per_class,
        "matrix": dict(confusion),
        "n": sum(confusion.values()),
        "decided": sum(count for (_, output), count in confusion.items() if output),
        "right": sum(confusion[name, name] for name in per_class),
    }


def nls(gold: str, output: Any) -> float:
    """Normalised Levenshtein similarity without case, nothing below one half (ANLS, tau = 0.5)."""
    if not isinstance(output, str):
        return 0.0
    near = Levenshtein.normalized_similarity(gold.lower(), output.lower())
    return near if near >= 0.5 else 0.0


class Sums:
    """Counts over the documents of a run."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
        self.rules = invariants_of(schema)
        self.fields: dict[str, Counter[str]] = defaultdict(Counter)
        self.confusion: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self.lost: dict[str, Counter[str]] = defaultdict(Counter)
        self.documents: Counter[str] = Counter()
        self.tags: dict[str, Counter[str]] = defaultdict(Counter)
        self.public: list[tuple[Any, Any]] = []
        self.spellings: list[float] = []
        self.more: Counter[str] = Counter()

    def add(self, row: dict[str, Any], said: dict[str, Any]) -> None:
        """Counts one document with what the model said about it."""
        came = said.get("finish_reason", "error") not in ("error", "length")
        output = read(said.get("raw") or "") if came else None
        self.public.append((row["gold"], output))
        errors = list(self.validator.iter_errors(output)) if output is not None else []
        broken = {tuple(error.absolute_path) for error in errors}
        outcomes = []
        pairs = list(pairs_of(row["gold"], output, self.schema, self.schema))
        for number, (path, place, below, gold, value) in enumerate(pairs):
            others = [pair[3] for at, pair in enumerate(pairs) if at != number]
            if output is None:
                outcomes.append(ABSENT if gold is None else UNSCORABLE)
            else:
                outcomes.append(outcome(below, gold, value, row["text"], place in broken, self.schema, others))
            self.count(path, below, gold, value if place not in broken else None, outcomes[-1])
            if isinstance(gold, str):
                self.spellings.append(nls(gold, value))
        valid = output is not None and not errors
        more = unlisted(row["gold"], output, self.schema, self.schema) if output is not None else Counter()
        self.more += more
        amiss = more[EXTRA] + more[WRONG] + more[MISSING]
        exact = valid and not amiss and all(one in (CORRECT, ABSENT) for one in outcomes)
        counted = sum(one != ABSENT for one in outcomes) + amiss
        whole = {"n": 1, "valid": valid, "exact": exact, "right": outcomes.count(CORRECT), "fields": counted}
        self.documents.update({**whole, **self.form(output), "no_extra_keys": output is not None and not more[EXTRA]})
        for tag in row.get("tags") or []:
            self.tags[tag].update(whole)

    def count(self, path: str, schema: dict[str, Any], gold: Any, value: Any, found: str) -> None:
        """Counts one value; ``value`` is None where nothing was said that the schema allows."""
        counted = found
        if found == HALLUCINATED:
            counted = f"{found}, gold has {'none' if gold is None else 'one'}"
        self.fields[path][counted] += 1
        if kind_of(schema) == "class" and found != ABSENT:
            self.confusion[path][str(gold or ""), str(value or "")] += 1
            self.lost[path][str(gold or "")] += found == UNSCORABLE

    def form(self, output: dict[str, Any] | None) -> dict[str, bool]:
        """What is said of the document as a whole, beside its values."""
        if output is None:
            return {"json": False, "required": False, "invariants": False}
        judged = [holds(rule, tolerance, output, self.schema) for rule, tolerance in self.rules]
        return {
            "json": True,
            "required": complete(output, self.schema, self.schema),
            "invariants": all(one is not False for one in judged),
        }

    def figures(self) -> dict[str, Any]:
        """All of them."""
        per_field = {path: of_field(counts) for path, counts in self.fields.items()}
        micro = {name: sum(one[name] for one in per_field.values()) for name in ("correct", "said", "gold")}
        # Keys that the schema does not have are no fields, but they are given and in gold.
        micro["said"] += self.more["said"]
        micro["gold"] += self.more["gold"]
        macro = {}
        for name in ("precision", "recall", "f1"):
            known = [one[name] for one in per_field.values() if one[name] is not None]
            macro[name] = sum(known) / len(known) if known else None
        return {
            "documents": dict(self.documents),
            "fields": per_field,
            "micro": prf(micro["correct"], micro["said"], micro["gold"]),
            "macro": macro,
            "classes": {path: of_classes(matrix, self.lost[path]) for path, matrix in self.confusion.items()},
            "anls": sum(self.spellings) / len(self.spellings) if self.spellings else None,
            "cord": cord(self.public),
            "sroie": sroie(self.public) if set(SROIE_FIELDS) <= set(self.schema["properties"]) else None,
            "tags": {name: dict(counts) for name, counts in sorted(self.tags.items())},
        }


def score(schema: dict[str, Any], dataset: list[dict[str, Any]], outputs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All figures of a run; ``outputs`` by document id, documents that are not there count as failed."""
    sums = Sums(schema)
    for row in dataset:
        sums.add(row, outputs.get(row["id"], {}))
    return sums.figures()


def loaded(text: str) -> Any:
    """A JSON value, numbers exact."""
    return json.loads(text, parse_float=Decimal)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [loaded(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def score_files(schema: Path, dataset: Path, outputs: Path, split: str = "") -> dict[str, Any]:
    """As ``score``, from the files that the studio exports; ``split`` leaves the other documents of the dataset out."""
    said = {row["id"]: row for row in rows_of(outputs)}
    rows = [row for row in rows_of(dataset) if split in ("", row.get("split"))]
    return score(loaded(schema.read_text(encoding="utf-8")), rows, said)


def printable(value: Any) -> Any:
    """As JSON can carry it: pairs as keys become text."""
    if isinstance(value, dict):
        return {" -> ".join(key) if isinstance(key, tuple) else key: printable(item) for key, item in value.items()}
    return value


if __name__ == "__main__":
    one, two, three, *rest = sys.argv[1:5]
    found = score_files(Path(one), Path(two), Path(three), *rest)
    print(json.dumps(printable(found), indent=2, ensure_ascii=False))

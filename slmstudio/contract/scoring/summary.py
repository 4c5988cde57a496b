"""Sums over scored documents: rates with intervals, precision and recall, counts of outcomes and errors; for classes,
with families of documents, and for parts of a run.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from rapidfuzz.distance import Levenshtein

from slmstudio import intervals
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.outcomes import EXTRA_KEYS, DocumentScore, FieldOutcome, FreeText

# Of longer texts only the beginning is compared letter by letter.
_MAX_LENGTH = 2_000


def wilson(k: int, n: int) -> dict[str, Any]:
    """``k`` of ``n`` as a rate with its two-sided 95% Wilson score interval (Wilson 1927); None if n is 0."""
    if not n:
        return {"k": k, "n": n, "rate": None, "low": None, "high": None}
    rate = k / n
    low, high = intervals.wilson(rate, n)
    return {"k": k, "n": n, "rate": rate, "low": low, "high": high}


def f1(correct: int, given: int, wanted: int) -> dict[str, Any]:
    """Precision (correct of given), recall (correct of gold) and their harmonic mean; None if the denominator is 0."""
    precision = correct / given if given else None
    recall = correct / wanted if wanted else None
    total = given + wanted
    return {"precision": precision, "recall": recall, "f1": 2 * correct / total if total else None}


def _counts(fields: Iterable[FieldOutcome]) -> tuple[int, int, int]:
    """(correct, given, gold): an unscorable output counts as giving all gold values, and giving them wrong."""
    correct = given = wanted = 0
    for field in fields:
        correct += field.outcome == "correct"
        given += field.output is not None or field.outcome in ("unscorable", "extra")
        wanted += field.gold is not None
    return correct, given, wanted


def _per_field(by_pattern: dict[str, list[FieldOutcome]]) -> dict[str, Any]:
    result = {}
    for pattern, fields in by_pattern.items():
        outcomes = Counter(field.outcome.value for field in fields)
        total = len(fields) - outcomes["both_absent"]
        result[pattern] = {
            **wilson(outcomes["correct"], total),
            **f1(*_counts(fields)),
            "outcomes": dict(outcomes),
            "errors": dict(Counter(field.error for field in fields if field.error)),
        }
    return result


def macro_average(rows: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Precision, recall and F1, each the mean over the rows that have it."""
    result: dict[str, float | None] = {}
    listed = list(rows)
    for name in ("precision", "recall", "f1"):
        values = [row[name] for row in listed if row[name] is not None]
        result[name] = sum(values) / len(values) if values else None
    return result


def anls(gold: str, output: str) -> float:
    """Normalized Levenshtein similarity ignoring case, 0 if below 0.5 (Biten et al. 2019, Scene Text VQA)."""
    similarity = Levenshtein.normalized_similarity(gold.casefold(), output.casefold())
    return similarity if similarity >= 0.5 else 0.0


def _mean_anls(fields: Iterable[FieldOutcome | FreeText]) -> float | None:
    """The mean over the gold texts, verbatim."""
    total = 0.0
    count = 0
    for field in fields:
        if isinstance(field.gold, str):
            count += 1
            if field.gold == field.output:
                total += 1
            elif isinstance(field.output, str):
                total += anls(field.gold[:_MAX_LENGTH], field.output[:_MAX_LENGTH])
    return total / count if count else None


def tree_similarity(fields: Iterable[FieldOutcome]) -> float:
    """The similarity of output and gold as trees: 1 minus the cost of the edits divided by the size of gold.

    Costs are those of CORD's tree score (``protocols.cord``): a letter 1, a name 1. But every value stays at its schema
    path, rows are compared with their paired row, and a correct value costs nothing however it is written. Zero if the
    edits cost more than gold's size.
    """
    cost = size = 0
    for field in fields:
        wanted = 0 if field.gold is None else 1 + len(str(field.gold))
        size += wanted
        if field.outcome == "correct":
            continue
        if field.gold is None or field.output is None:
            cost += wanted if field.output is None else 1 + len(str(field.output))
        else:
            cost += Levenshtein.distance(str(field.gold)[:_MAX_LENGTH], str(field.output)[:_MAX_LENGTH])
    return max(0.0, 1 - cost / size) if size else float(not cost)


def _free(scores: Iterable[DocumentScore]) -> dict[str, Any]:
    """Free-text fields: the number of texts in gold, and their character similarity."""
    by_pattern: dict[str, list[FreeText]] = {}
    for score in scores:
        for row in score.free:
            by_pattern.setdefault(row.field, []).append(row)
    return {
        pattern: {"n": sum(isinstance(row.gold, str) for row in rows), "anls": _mean_anls(rows)}
        for pattern, rows in by_pattern.items()
    }


def summarize(scores: Sequence[DocumentScore]) -> dict[str, Any]:
    """JSON-ready scores of many documents.

    ``field_exact`` counts correct fields among all but those missing on both sides. ``micro`` and ``macro`` (mean over
    fields) are precision over the output values, recall over the gold values. Invalid outputs are in every ``n`` and in
    every denominator, that of precision too. Fields that are not in the schema count as wrong output values in all
    scores except those by field and their mean. ``invariants_hold`` has no documents if the schema declares none.
    ``anls`` (over texts), ``tree`` (mean of ``tree_similarity``) and ``free`` are secondary: no gate uses them.
    """
    by_pattern: dict[str, list[FieldOutcome]] = {}
    for score in scores:
        for field in score.fields:
            by_pattern.setdefault(field.field, []).append(field)
    everything = [field for fields in by_pattern.values() for field in fields]
    outcomes = Counter(field.outcome.value for field in everything)
    checked = [score.invariants_hold for score in scores if score.invariants_hold is not None]
    n = len(scores)
    per_field = _per_field({name: fields for name, fields in by_pattern.items() if name != EXTRA_KEYS})

    def rate(name: str) -> dict[str, Any]:
        return wilson(sum(map(attrgetter(name), scores)), n)

    invented = sum(any(field.outcome == "hallucinated" for field in score.fields) for score in scores)
    return {
        "documents": n,
        "valid_json": rate("valid_json"),
        "schema_valid": rate("schema_valid"),
        "required_present": rate("required_present"),
        "no_extra_keys": rate("no_extra_keys"),
        "document_exact": rate("exact"),
        "invariants_hold": wilson(sum(checked), len(checked)),
        "field_exact": wilson(outcomes["correct"], len(everything) - outcomes["both_absent"]),
        "hallucinated": wilson(invented, n),
        "outcomes": dict(outcomes),
        "errors": dict(Counter(field.error for field in everything if field.error).most_common()),
        "per_field": per_field,
        "micro": f1(*_counts(everything)),
        "macro": macro_average(per_field.values()),
        "anls": _mean_anls(field for field in everything if field.field != EXTRA_KEYS),
        "tree": sum(tree_similarity(score.fields) for score in scores) / n if n else None,
        "free": _free(scores),
    }


# -- choice fields: confusion matrix, precision and recall of each class, decision rate --------------------------------

MAX_CLASSES = 200
UNDECIDED = ""


def class_scores(compiled: CompiledSchema, scores: Iterable[DocumentScore]) -> dict[str, Any]:
    """Every choice or boolean field by pattern, in schema order: ``matrix[gold][output]`` counts, per class precision,
    recall and F1.

    Missing values, values that the schema does not allow and values of an invalid output are counted under "" (no
    decision). A field missing on both sides does not count. ``decided`` is the share with a decision, the routing
    decision rate; ``right`` the share with the correct one; ``macro`` the mean over classes. The denominator of
    precision is the values given plus those of invalid outputs, which count as given for the class in gold.

    A field without a fixed list of choices that has more than 200 classes is left out.
    """
    chosen = {field.pattern: _Table() for field in compiled.fields if field.is_choice}
    if not chosen:
        return {}
    for score in scores:
        for field in score.fields:
            if field.field in chosen:
                chosen[field.field].add(field)
    figures = {pattern: table.figures() for pattern, table in chosen.items() if table.matrix}
    return {pattern: row for pattern, row in figures.items() if len(row["classes"]) <= MAX_CLASSES}


def label(value: Any) -> str:
    """The name of a class: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else dumps(value)


class _Table:
    """Counts of one field: ``matrix[gold][output]``, and how many values of a class are in invalid outputs."""

    def __init__(self) -> None:
        self.matrix: dict[str, Counter[str]] = {}
        self.owed = Counter[str]()

    def add(self, field: FieldOutcome) -> None:
        """Counts one field of a document."""
        if field.outcome == "both_absent":
            return
        gold = UNDECIDED if field.gold is None else label(field.gold)
        self.owed[gold] += field.outcome == "unscorable"
        if field.outcome == "correct":
            output = gold  # they may differ in white space
        else:
            output = UNDECIDED if field.output is None or field.error == "format" else label(field.output)
        self.matrix.setdefault(gold, Counter())[output] += 1

    def figures(self) -> dict[str, Any]:
        """The counts in the form that ``class_scores`` returns."""
        names = sorted({name for gold, row in self.matrix.items() for name in (gold, *row)} - {UNDECIDED})
        given, wanted = Counter[str](), Counter[str]()
        for gold, row in self.matrix.items():
            given.update(row)
            wanted[gold] += sum(row.values())
        hits = {name: self.matrix[name][name] if name in self.matrix else 0 for name in names}
        classes = {
            name: {**f1(hits[name], given[name] + self.owed[name], wanted[name]), "n": wanted[name]} for name in names
        }
        total = sum(given.values())
        return {
            "matrix": {gold: dict(sorted(row.items())) for gold, row in sorted(self.matrix.items())},
            "classes": classes,
            "macro": macro_average(classes.values()),
            "right": wilson(sum(hits.values()), total),
            "decided": wilson(total - given[UNDECIDED], total),
        }


# -- intervals where documents come in families: documents of one supplier, say, are not independent ------------------

#: rates of ``summarize`` over documents -> the attribute that they count
_DOCUMENTS = {
    "valid_json": "valid_json",
    "schema_valid": "schema_valid",
    "required_present": "required_present",
    "no_extra_keys": "no_extra_keys",
    "document_exact": "exact",
}
Row = tuple[Hashable, int, int]


def clustered(rows: Iterable[Row]) -> dict[str, Any]:
    """A rate with its interval where documents come in families, from (family, part, whole) of each document.

    ``wilson`` with the effective number of observations in place of ``n`` where a family has several documents;
    then it also has ``effective``.
    """
    sums: dict[Hashable, tuple[int, int]] = {}
    documents = 0
    for family, part, whole in rows:
        if whole:
            old = sums.get(family, (0, 0))
            sums[family] = old[0] + part, old[1] + whole
            documents += 1
    rate = wilson(sum(part for part, _ in sums.values()), sum(whole for _, whole in sums.values()))
    if documents == len(sums):
        return rate
    effective = min(float(rate["n"]), intervals.effective_number(list(sums.values())))
    low, high = intervals.wilson(rate["rate"], effective)
    return {**rate, "low": low, "high": high, "effective": effective}


def with_families(
    figures: Mapping[str, Any], scores: Sequence[DocumentScore], families: Sequence[Hashable]
) -> dict[str, Any]:
    """The figures of ``summarize`` with intervals over families: of all rates, and of each field."""
    rows: dict[str, list[Row]] = defaultdict(list)
    fields: dict[str, list[Row]] = defaultdict(list)
    for score, family in zip(scores, families, strict=True):
        for name, attribute in _DOCUMENTS.items():
            rows[name].append((family, int(getattr(score, attribute)), 1))
        if score.invariants_hold is not None:
            rows["invariants_hold"].append((family, int(score.invariants_hold), 1))
        rows["hallucinated"].append((family, int(any(row.outcome == "hallucinated" for row in score.fields)), 1))
        counted = [row for row in score.fields if row.outcome != "both_absent"]
        right = Counter(row.field for row in counted if row.outcome == "correct")
        total = Counter(row.field for row in counted)
        rows["field_exact"].append((family, right.total(), total.total()))
        for name, number in total.items():
            fields[name].append((family, right[name], number))
    per_field = {
        name: {**value, **clustered(fields[name])} for name, value in figures["per_field"].items() if name != EXTRA_KEYS
    }
    return {**figures, **{name: clustered(own) for name, own in rows.items()}, "per_field": per_field}


# -- parts of a run: the documents with a failure tag, or with a metadata value ----------------------------------------

MAX_KEYS = 12
MAX_VALUES = 30
MAX_VALUE_LENGTH = 60
#: the name of the slice of all values without a slice of their own
OTHER = ""


def slices(scores: Sequence[DocumentScore], labels: Sequence[Iterable[str]]) -> dict[str, Any]:
    """Scores of the documents with each label, by label; ``labels`` in the order of ``scores``.

    A document has any number of labels. Each slice has ``documents``, ``schema_valid``, ``field_exact`` and
    ``document_exact``, counted as in ``summarize``.
    """
    sums: dict[str, list[int]] = {}
    for score, borne in zip(scores, labels, strict=True):
        counted = [field.outcome for field in score.fields if field.outcome != "both_absent"]
        row = (1, score.schema_valid, score.exact, sum(outcome == "correct" for outcome in counted), len(counted))
        for label in set(borne):
            sums[label] = [old + new for old, new in zip(sums.get(label, (0,) * 5), row, strict=True)]
    return {
        label: {
            "documents": n,
            "schema_valid": wilson(valid, n),
            "field_exact": wilson(right, counted),
            "document_exact": wilson(exact, n),
        }
        for label, (n, valid, exact, right, counted) in sorted(sums.items())
    }


def metadata_slices(
    scores: Sequence[DocumentScore], metadata: Sequence[Mapping[str, Any] | None]
) -> dict[str, dict[str, Any]]:
    """``slices`` by the values of each metadata key: key -> value -> scores.

    Values are texts, numbers and booleans. Up to 30 values of up to 60 characters are a slice each. If there are more,
    the 30 most frequent are, and the others form one slice, ``OTHER``. Keys that identify documents rather than group
    them have no slices: those whose values hardly any two documents share (a file name), and those beyond 12, by name,
    keys with all their values first.
    """
    named: dict[str, set[str]] = {}
    partly: dict[str, bool] = {}
    for key in sorted({key for row in metadata for key in row or ()}):
        counts = Counter(filter(None, _values(key, metadata)))
        if len(counts) > 1:
            named[key] = _named(counts)
            partly[key] = len(named[key]) < len(counts)
    shown = sorted((key for key, values in named.items() if values), key=lambda key: (partly[key], key))[:MAX_KEYS]
    by_key: dict[str, dict[str, Any]] = {key: {} for key in named}
    for key in shown:
        labels = [[value if value in named[key] else OTHER] if value else [] for value in _values(key, metadata)]
        by_key[key] = slices(scores, labels)
    return by_key


def _values(key: str, metadata: Sequence[Mapping[str, Any] | None]) -> list[str]:
    return [_as_text((row or {}).get(key)) for row in metadata]


def _named(counts: Counter[str]) -> set[str]:
    """The values that become slices: all if they are few and short, else the most frequent shared ones."""
    short = {value: count for value, count in counts.items() if len(value) <= MAX_VALUE_LENGTH}
    return set(short) if len(short) == len(counts) <= MAX_VALUES else set(top_shared_values(short))


def top_shared_values(counts: Mapping[str, int], limit: int = MAX_VALUES) -> list[str]:
    """The most frequent of too many values, in order; never one of a single document."""
    shared = [value for value, count in counts.items() if count > 1]
    return sorted(shared, key=lambda value: (-counts[value], value))[:limit]


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or isinstance(value, list | dict) else str(value)

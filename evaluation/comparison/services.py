"""Comparisons of two eval runs on the same documents, computed once for a pair and stored."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.db.models import Count

from evaluation.comparison.failure_modes import failure_modes
from evaluation.comparison.paired import compare
from evaluation.models import Comparison, EvalOutput, EvalRun
from evaluation.runs.tasks import describe_setup
from evaluation.scores.score_view import ScoreView
from evaluation.stats import distribution
from labeling.datasets.families import families_of, family_word, group_key
from labeling.models import DatasetVersion
from slmstudio.contract.schema.dialect import identity
from slmstudio.contract.schema.structure import Node
from slmstudio.contract.scoring.pairing import get
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.errors import Refused
from slmstudio.runs.models import Status

#: of stored results; a comparison of an earlier version is computed again
VERSION = 5


def get_or_create_comparison(*, a: EvalRun, b: EvalRun) -> Comparison:
    """The comparison of ``b`` with ``a`` by document; computed once for a pair and stored.

    Both runs have ended, so the comparison does not change. Its ``result`` has the keys of
    ``evaluation.comparison.paired.compare`` and ``modes`` (``evaluation.comparison.failure_modes``),
    ``tokens`` (output tokens per document, by side), ``notes`` (what limits the comparison, in sentences),
    ``differences`` (of the setups: name, A, B) and, where some documents have two gold labels, ``judged``: the part
    over the other documents, which verdicts use (``evaluation.comparison.regressions``).

    Raises:
        Refused: the same run twice, a run that is not done, no document or no field in common.
    """
    check_comparable(a, b)
    made = Comparison.objects.filter(a=a, b=b).first()
    if made is not None and made.result.get("version") == VERSION:
        return made
    comparison, _ = Comparison.objects.update_or_create(
        a=a, b=b, defaults={"project_id": a.project_id, "result": _result(a, b)}
    )
    comparison.refresh_from_db(fields=["result"])  # in its JSON form, as later readers get it
    return comparison


def check_comparable(*runs: EvalRun) -> None:
    """Checks that these runs can be compared.

    Raises:
        Refused: a run twice, runs of different projects, or a run that is not done.
    """
    if len({run.pk for run in runs}) < len(runs):
        raise Refused(f"Select {'two' if len(runs) == 2 else 'only'} different evaluations.", field="runs")
    if len({run.project_id for run in runs}) > 1:
        raise Refused(f"The {'two ' if len(runs) == 2 else ''}evaluations belong to different projects.", field="runs")
    for run in runs:
        if run.status != Status.DONE:
            raise Refused(f"Evaluation {run.number} is not finished. Compare it when it is.", field="runs")


def _result(a: EvalRun, b: EvalRun) -> dict[str, Any]:
    shared = shared_fields([a, b])
    if shared is not None and not shared:
        raise Refused(f"The schemas of {a.dataset} and {b.dataset} have no fields in common.", field="runs")
    scores, families, newest = (_scores(a), _scores(b)), _families(a, b), newest_dataset(a, b)
    compared, columns, field_counts = compare(*scores, shared, families)
    if not compared["n"]:
        raise Refused(f"Evaluations {a.number} and {b.number} have no documents in common.", field="runs")
    rows = EvalOutput.objects.filter(eval_run=b)
    known = list(rows.values_list("document__external_id", "document_id", "tags", "document__metadata"))
    several_golds = documents_with_several_golds([a, b], shared)
    other_gold = {name for name, key, _, _ in known if key in several_golds}
    cases = columns.about(
        tags={name: tags for name, _, tags, _ in known},
        metadata={name: metadata for name, _, _, metadata in known},
        other_gold=other_gold,
    )
    return {
        **compared,
        "version": VERSION,
        "cases": cases.as_dict(),
        "modes": failure_modes(cases, *field_counts, families=families, group_key=group_key(newest)),
        "tokens": {"a": _tokens(a, cases.keys), "b": _tokens(b, cases.keys)},
        "notes": [
            note
            for note in (
                compared["note"],
                family_note(newest, cases.keys, families),
                *_notes(a, b, cases.gold.count("1")),
                _unshared_fields_note(a, b),
            )
            if note
        ],
        "differences": [list(row) for row in _differences(a, b)],
        **({"judged": _judged(*scores, shared, other_gold, families)} if "1" in cases.gold else {}),
    }


def _scores(run: EvalRun) -> list[tuple[str, ScoreView]]:
    rows = EvalOutput.objects.filter(eval_run=run).order_by("document_id")
    scores = rows.values_list("document__external_id", "score").iterator(chunk_size=500)
    return [(key, ScoreView.of(score)) for key, score in scores]


def newest_dataset(*runs: EvalRun) -> DatasetVersion:
    """The newest dataset version of these runs, whose families a comparison uses."""
    return max((run.dataset for run in runs), key=lambda dataset: dataset.number)


def _families(*runs: EvalRun) -> dict[str, int]:
    """Document id -> family, where a document is not alone in it."""
    of = families_of(newest_dataset(*runs), runs[-1].split)
    if not of:
        return {}
    rows = EvalOutput.objects.filter(eval_run__in=runs).values_list("document__external_id", "document_id")
    return {name: of[key] for name, key in rows if key in of}


def family_note(dataset: DatasetVersion, documents: Sequence[Any], families: Mapping[Any, int]) -> str:
    """A sentence about compared documents that are not independent; "" where each is its own."""
    number = len({families.get(document, document) for document in documents})
    if number == len(documents):
        return ""
    word, family = family_word(dataset, number), family_word(dataset, 1)
    return (
        f"The {len(documents):,} documents come from {number:,} {word}. Documents of one {family} are not independent: "
        f"intervals and tests count whole {family_word(dataset)}."
    )


def shared_fields(runs: Sequence[EvalRun]) -> frozenset[str] | None:
    """The fields (patterns) that all of the runs were scored for; None if they have one schema."""
    if len({run.dataset.schema_version_id for run in runs}) == 1:
        return None
    first, *others = map(_scored, runs)
    return first.intersection(*others)


def _scored(run: EvalRun) -> frozenset[str]:
    fields = run.dataset.schema_version.compiled.fields
    return frozenset(field.pattern for field in fields if KINDS[field.kind].scored)


def _unshared_fields_note(a: EvalRun, b: EvalRun) -> str:
    """A sentence about the fields that only one of the two was scored for; "" if there are none."""
    if a.dataset.schema_version_id == b.dataset.schema_version_id:
        return ""
    left, right = _scored(a), _scored(b)
    alone = [f"{name} ({side})" for side, names in (("A", left - right), ("B", right - left)) for name in sorted(names)]
    return f"Excluded from fields and documents, because only one schema has them: {', '.join(alone)}." if alone else ""


def _judged(
    a: Sequence[tuple[str, ScoreView]],
    b: Sequence[tuple[str, ScoreView]],
    shared: frozenset[str] | None,
    other_gold: set[str],
    families: Mapping[str, int],
) -> dict[str, Any]:
    """The comparison over the documents with one gold, as far as a verdict reads it."""
    left, right = ([row for row in rows if row[0] not in other_gold] for rows in (a, b))
    compared, _, _ = compare(left, right, shared, families)
    return {name: compared[name] for name in ("n", "broken", "measures", "fields")}


def _tokens(run: EvalRun, keys: tuple[str, ...]) -> dict[str, Any]:
    """The distribution of output tokens on the documents both have."""
    rows = dict(EvalOutput.objects.filter(eval_run=run).values_list("document__external_id", "output_tokens"))
    return distribution([float(rows[key]) for key in keys])


def documents_with_several_golds(runs: Sequence[EvalRun], shared: frozenset[str] | None) -> set[int]:
    """Keys of the documents that all runs have and that were scored with different gold labels: in the fields of
    ``shared``, where the schemas differ. Fields of only one schema do not count.
    """
    if len({run.dataset_id for run in runs}) == 1:
        return set()
    rows = EvalOutput.objects.filter(eval_run__in=[run.pk for run in runs]).values("document_id")
    counts = rows.annotate(answers=Count("pk"), golds=Count("gold", distinct=True))
    documents = set(counts.filter(answers=len(runs), golds__gt=1).values_list("document_id", flat=True))
    return documents if shared is None or not documents else _several_within(runs, shared, documents)


def _several_within(runs: Sequence[EvalRun], shared: frozenset[str], documents: set[int]) -> set[int]:
    """Those of these documents with different gold labels in the fields of ``shared``."""
    golds: dict[int, set[Hashable]] = defaultdict(set)
    # Gold is that of a dataset version, so one run of each is read.
    for run in {run.dataset_id: run for run in runs}.values():
        root = run.dataset.schema_version.compiled.root
        rows = EvalOutput.objects.filter(eval_run=run, document__in=documents)
        for key, gold in rows.values_list("document_id", "gold").iterator(chunk_size=500):
            golds[key].add(gold_subset(root, gold, shared))
    return {key for key, values in golds.items() if len(values) > 1}


def _notes(a: EvalRun, b: EvalRun, golds: int) -> Iterator[str]:
    """Differences of the two runs other than their models, in sentences."""
    if golds:
        many = f"{golds:,} document has" if golds == 1 else f"{golds:,} documents have"
        yield (
            f"{many} different gold labels in {b.dataset} and {a.dataset}, so A and B were scored against different "
            "gold labels. Re-score both with the same dataset version."
        )
    if a.dataset.schema_version_id != b.dataset.schema_version_id:
        yield f"The schema changed between {a.dataset} and {b.dataset}; each run was scored with its own."
    if a.scorer_version != b.scorer_version:
        yield f"Scored with different scorers: version {a.scorer_version} and version {b.scorer_version}."


def matrix_notes(runs: Sequence[EvalRun], *, documents: int, golds: int, shared: frozenset[str] | None) -> list[str]:
    """Differences of several runs other than their models, in sentences. ``golds`` of the shared ``documents`` were
    scored with different gold labels; ``shared``: from ``shared_fields``.
    """
    notes = []
    if golds:
        many = f"{golds:,} document has" if golds == 1 else f"{golds:,} documents have"
        rest = documents - golds
        left = f"pairs and exact match use the other {rest:,}" if rest else "no pair has a verdict"
        notes.append(
            f"{many} different gold labels among these evaluations ({_versions(runs)}): {left}. Re-score them with "
            "the same dataset version."
        )
    if shared is not None:
        notes.append(
            f"The schema changed ({_versions(runs)}); each was scored with its own. Here, a document is an exact match "
            "if the fields that all schemas have are correct."
        )
        alone = sorted({name for run in runs for name in _scored(run)} - shared)
        if alone:
            notes.append(f"Excluded from pairs and documents, because not every schema has them: {', '.join(alone)}.")
    scorers = sorted({run.scorer_version for run in runs})
    if len(scorers) > 1:
        notes.append(f"Scored with different scorers: versions {', '.join(scorers)}.")
    return notes


def _versions(runs: Iterable[EvalRun]) -> str:
    return ", ".join(f"#{run.number} by v{run.dataset.number}" for run in runs)


def _differences(a: EvalRun, b: EvalRun) -> list[tuple[str, str, str]]:
    left, right = describe_setup(a), describe_setup(b)
    unlike = [name for name in left | right if left.get(name) != right.get(name)]
    return [(name, left.get(name, "–"), right.get(name, "–")) for name in unlike]


def gold_subset(node: Node, gold: Any, shared: frozenset[str]) -> Hashable:
    """What gold says in the fields of ``shared`` (patterns), equal under two schemas where it is the same; None where
    it says nothing.

    As in scoring, a missing name, null and a list without rows are the same absence, names have no order, and numbers
    count by value. A row that says nothing in these fields is no row.
    """
    if node.field is not None:
        if gold is None or node.field.pattern not in shared:
            return None
        value: Hashable = identity(gold)
        return value
    if node.item is not None:
        rows = [gold_subset(node.item, row, shared) for row in gold] if isinstance(gold, list) else []
        return tuple(row for row in rows if row is not None) or None
    parts = [(name, gold_subset(child, get(gold, name), shared)) for name, child in node.children.items()]
    return frozenset((name, part) for name, part in parts if part is not None) or None

"""Comparisons of two eval runs on the same documents: made once for a pair, and kept with all that their page shows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db.models import Count

from evaluation.compare import Comparison as Compared
from evaluation.compare import Judged, compare, spread
from evaluation.models import Comparison, EvalOutput, EvalRun
from evaluation.modes import modes
from evaluation.services.subjects import how
from slmstudio.runs import Status
from training.services.runs import Refused

#: what a stored result holds; a comparison that was kept by an earlier version is made again
VERSION = 3


def compare_runs(*, a: EvalRun, b: EvalRun) -> Comparison:
    """What ``b`` fixed and broke against ``a``, document by document; made once for a pair and kept.

    Both have ended, so their outputs do not change and neither does the comparison. Its ``result`` is that of
    ``evaluation.compare.Comparison.as_dict``, and beside it ``modes`` (see ``evaluation.modes``), ``tokens`` (written
    for each document, by side), ``notes`` (what stands against the comparison, in sentences), ``differences`` (what
    the two runs do not have in common: name, A, B) and, where some documents have two golds, ``judged``: what a verdict
    rests on, which is the others (see ``evaluation.regression``).

    Raises:
        Refused: the same run twice, a run that is not done, no document or no field in common.
    """
    check(a, b)
    made = Comparison.objects.filter(a=a, b=b).first()
    if made is not None and made.result.get("version") == VERSION:
        return made
    comparison, _ = Comparison.objects.update_or_create(
        a=a, b=b, defaults={"project_id": a.project_id, "result": _result(a, b)}
    )
    comparison.refresh_from_db(fields=["result"])  # as JSON has it, whoever asks first
    return comparison


def check(*runs: EvalRun) -> None:
    """Whether these runs can be held against each other.

    Raises:
        Refused: a run twice, runs of different projects, or a run that is not done.
    """
    if len({run.pk for run in runs}) < len(runs):
        raise Refused("runs", f"Choose {'two' if len(runs) == 2 else 'only'} different evaluations.")
    if len({run.project_id for run in runs}) > 1:
        raise Refused("runs", f"The {'two ' if len(runs) == 2 else ''}evaluations belong to different projects.")
    for run in runs:
        if run.status != Status.DONE:
            raise Refused("runs", f"Evaluation {run.number} is not done, so there is nothing to compare yet.")


def _result(a: EvalRun, b: EvalRun) -> dict[str, Any]:
    shared, apart = _fields(a, b)
    if shared is not None and not shared:
        raise Refused("runs", f"The schemas of {a.dataset} and {b.dataset} have no field in common.")
    scores = _scores(a), _scores(b)
    found = compare(*scores, shared)
    if not found.n:
        raise Refused("runs", f"Evaluations {a.number} and {b.number} have no document in common.")
    rows = EvalOutput.objects.filter(eval_run=b).values_list("document__external_id", "tags", "document__metadata")
    known = {key: (tags, metadata) for key, tags, metadata in rows}
    other_gold = _other_gold(a, b)
    cases = found.cases.about(
        tags={key: tags for key, (tags, _) in known.items()},
        metadata={key: metadata for key, (_, metadata) in known.items()},
        other_gold=other_gold,
    )
    return {
        **found.as_dict(),
        "version": VERSION,
        "cases": cases.as_dict(),
        "modes": modes(cases, *found.tallies),
        "tokens": {"a": _tokens(a, cases.keys), "b": _tokens(b, cases.keys)},
        "notes": [note for note in (found.note, *_notes(a, b, cases.gold.count("1")), apart) if note],
        "differences": [list(row) for row in _differences(a, b)],
        **({"judged": _judged(*scores, shared, other_gold)} if "1" in cases.gold else {}),
    }


def _scores(run: EvalRun) -> list[tuple[str, Judged]]:
    rows = EvalOutput.objects.filter(eval_run=run).order_by("document_id")
    told = rows.values_list("document__external_id", "score").iterator(chunk_size=500)
    return [(key, Judged.of(score)) for key, score in told]


def _fields(a: EvalRun, b: EvalRun) -> tuple[frozenset[str] | None, str]:
    """The fields that both were scored for, None where that goes without saying, and a sentence about the others."""
    if a.dataset.schema_version_id == b.dataset.schema_version_id:
        return None, ""
    left, right = (
        {field.pattern for field in run.dataset.schema_version.compiled.fields if field.kind != "free"}
        for run in (a, b)
    )
    alone = [f"{name} ({side})" for side, names in (("A", left - right), ("B", right - left)) for name in sorted(names)]
    said = f"Left out of fields and documents, because only one schema has them: {', '.join(alone)}." if alone else ""
    return frozenset(left & right), said


def _judged(
    a: Sequence[tuple[str, Judged]],
    b: Sequence[tuple[str, Judged]],
    shared: frozenset[str] | None,
    other_gold: set[str],
) -> dict[str, Any]:
    """The comparison over the documents with one gold, as far as a verdict reads it."""
    left, right = ([row for row in rows if row[0] not in other_gold] for rows in (a, b))
    found: Compared = compare(left, right, shared)
    told = found.as_dict()
    return {name: told[name] for name in ("n", "broken", "measures", "fields")}


def _tokens(run: EvalRun, keys: tuple[str, ...]) -> dict[str, Any]:
    """How long the outputs are, on the documents both have."""
    rows = dict(EvalOutput.objects.filter(eval_run=run).values_list("document__external_id", "output_tokens"))
    return spread([float(rows[key]) for key in keys])


def _other_gold(a: EvalRun, b: EvalRun) -> set[str]:
    """Documents that the two were scored against different gold for."""
    if a.dataset_id == b.dataset_id:
        return set()
    gold = [
        dict(EvalOutput.objects.filter(eval_run=run).values_list("document__external_id", "gold")) for run in (a, b)
    ]
    return {key for key, value in gold[0].items() if key in gold[1] and value != gold[1][key]}


def _notes(a: EvalRun, b: EvalRun, golds: int) -> Iterator[str]:
    """What makes the two runs unlike beside their models, in sentences."""
    if golds:
        many = f"{golds:,} document has" if golds == 1 else f"{golds:,} documents have"
        yield (
            f"{many} another gold in {b.dataset} than in {a.dataset}: A and B were not scored against the same there. "
            "Score both again on one version."
        )
    if a.dataset.schema_version_id != b.dataset.schema_version_id:
        yield f"The schema changed between {a.dataset} and {b.dataset}; each run was scored by its own."
    if a.scorer_version != b.scorer_version:
        yield f"Scored by different scorers: version {a.scorer_version} and version {b.scorer_version}."


def notes_of_many(runs: Sequence[EvalRun]) -> list[str]:
    """What makes several runs unlike beside their models, in sentences; over the documents that all of them have."""
    found = []
    golds = _golds(runs)
    if golds:
        many = f"{golds:,} document has" if golds == 1 else f"{golds:,} documents have"
        found.append(
            f"{many} more than one gold among these evaluations ({_versions(runs)}), so they were not scored against "
            "the same there, and no pair is proof. Score them again on one version."
        )
    if len({run.dataset.schema_version_id for run in runs}) > 1:
        found.append(
            f"The schema changed ({_versions(runs)}); each was scored by its own, and a document is right where the "
            "fields of that schema are."
        )
    scorers = sorted({run.scorer_version for run in runs})
    if len(scorers) > 1:
        found.append(f"Scored by different scorers: versions {', '.join(scorers)}.")
    return found


def _golds(runs: Sequence[EvalRun]) -> int:
    """How many documents that all of the runs have were scored against more than one gold."""
    if len({run.dataset_id for run in runs}) == 1:
        return 0
    rows = EvalOutput.objects.filter(eval_run__in=[run.pk for run in runs]).values("document_id")
    told = rows.annotate(answers=Count("pk"), golds=Count("gold", distinct=True))
    return int(told.filter(answers=len(runs), golds__gt=1).count())


def _versions(runs: Iterable[EvalRun]) -> str:
    return ", ".join(f"#{run.number} by v{run.dataset.number}" for run in runs)


def _differences(a: EvalRun, b: EvalRun) -> list[tuple[str, str, str]]:
    left, right = how(a), how(b)
    unlike = [name for name in left | right if left.get(name) != right.get(name)]
    return [(name, left.get(name, "–"), right.get(name, "–")) for name in unlike]

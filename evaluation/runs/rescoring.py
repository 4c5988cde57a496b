"""Re-scoring: scores stored outputs against corrected gold, another schema or a newer scorer. No model is run.

Outputs, latency, tokens, memory and cost are those of the first evaluation; only the scores are new. The old scores are
kept. Documents that only one of the two dataset versions has are left out and counted.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from evaluation.audit import services as audit_services
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import outputs, run_documents, summary
from evaluation.runs.services import check_price
from evaluation.runs.summary import current_slices
from evaluation.scores.label_noise import LabelNoise
from evaluation.stats import distribution
from labeling.datasets.families import families_of
from labeling.form.merge import same
from labeling.models import DatasetVersion, Project, Split
from slmstudio.access import Action, require
from slmstudio.contract.scoring.scorer import SCORER_VERSION
from slmstudio.database.fields import validate_fields
from slmstudio.errors import Refused
from slmstudio.runs.application import scorer_code
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file

BATCH = 200
#: ids of left-out documents that are listed
MAX_LISTED = 20
#: facts about attempts, which each run has itself
_JOB_FACTS = ("attempts", "forgiven")


def rescore(*, run: EvalRun, dataset: DatasetVersion, user: User | None, confirm_holdout: bool = False) -> EvalRun:
    """Queues a re-scoring of a run's outputs with a dataset version. Idempotent.

    Of a re-scored evaluation the first one's outputs are used. On the hold-out it counts as an evaluation of it, whose
    price has to be confirmed (``confirm_holdout``).

    Raises:
        Refused: ``field`` is run, dataset or confirmed (code ``holdout_not_confirmed``, with the price); nothing is
            queued then.
    """
    require(run.project, user, Action.RUN)
    source = run.rescored_from or run
    _check(source, dataset)
    with transaction.atomic():
        # Locks the project, so that two who ask at once get one evaluation.
        number = source.project.next_number(EvalRun)
        ended_badly = (Status.FAILED, Status.CANCELLED)
        made: Any = EvalRun.objects.filter(rescored_from=source, dataset=dataset)
        made = made.filter(scorer_version__in=("", SCORER_VERSION))
        there: EvalRun | None = made.exclude(status__in=ended_badly).order_by("-pk").first()
        if there is not None:
            return there
        if source.split == Split.HOLDOUT and not confirm_holdout:
            trained = source.export or source.training_run or source.classical
            model = trained or source.prompt or source.base_model or source.endpoint
            assert model is not None
            check_price(dataset, model)
        fresh = EvalRun(
            project=source.project,
            number=number,
            dataset=dataset,
            split=source.split,
            mode=source.mode,
            concurrency=source.concurrency,
            spec=source.spec,
            **{name: getattr(source, name) for name in EvalRun.MODEL_COLUMNS},
            rescored_from=source,
            created_by=user,
            opened_at=source.opened_at,
            opened_by=source.opened_by,
            opened_reason=source.opened_reason,
        )
        fresh.progress_total = run_documents.count(fresh)
        validate_fields(fresh)
        fresh.save()
        audit_services.record(
            project=source.project,
            user=user,
            action="re-scored",
            about=f"evaluation {fresh.number}",
            details={"outputs": source.outputs_sha256, "of": source.number, "dataset": dataset.sha256},
        )
        fresh.enqueue()
    return fresh


def _check(source: EvalRun, dataset: DatasetVersion) -> None:
    if source.status != Status.DONE:
        raise Refused(f"Evaluation {source.number} is not finished. Re-score it when it is.", field="run")
    if source.benchmark_id is not None:
        raise Refused("Benchmarks have their own documents. Run the benchmark again instead.", field="run")
    if dataset.project_id != source.project_id:
        raise Refused("That dataset version belongs to another project.", field="dataset")
    if dataset.pk == source.dataset_id and source.scorer_version == SCORER_VERSION:
        raise Refused(f"Evaluation {source.number} is already scored with {dataset}.", field="dataset")
    wanted = dataset.items.filter(split=source.split).values("document")
    if not EvalOutput.objects.filter(eval_run=source, document__in=wanted).exists():
        raise Refused(
            f"None of the documents of evaluation {source.number} is in the "
            f"{source.get_split_display().lower()} of {dataset}.",
            field="dataset",
        )


def target_versions(run: EvalRun) -> list[DatasetVersion]:
    """The newest dataset versions that a run can be re-scored with, newest first."""
    source = run.rescored_from or run
    rows = DatasetVersion.objects.filter(project=run.project_id).order_by("-number")
    scored = [scored_run.dataset_id for scored_run in {source, run} if scored_run.scorer_version == SCORER_VERSION]
    rows = rows.exclude(pk__in=scored)
    return list(rows[:20])


def page(run: EvalRun) -> dict[str, Any]:
    """What a run's page shows about re-scoring: ``runs`` that re-score it, dataset versions to choose from, and for a
    re-scored run the share of errors that were label noise.
    """
    noise = run.facts.get("rescored", {}).get("noise", {})
    return {
        "runs": rescorings(run),
        "choices": target_versions(run) if run.status == Status.DONE and run.benchmark_id is None else [],
        "share": noise["resolved"] / noise["before"] if noise.get("before") else None,
    }


def rescorings(run: EvalRun) -> list[EvalRun]:
    """The re-scored evaluations of this one, newest first."""
    rows = EvalRun.objects.filter(rescored_from=run)
    rows = rows.select_related("dataset").order_by("-number")
    return list(rows[:20])


# -- the job -----------------------------------------------------------------------------------------------------------


def process(run: EvalRun) -> None:
    """Runs a claimed re-scoring. Interrupted, it starts again with the same result.

    Raises:
        InvalidOutputs: the outputs of the first evaluation changed, or the file of the version is missing.
    """
    source = run.rescored_from
    assert source is not None
    run.record(stage="checking the outputs")
    path = artifacts.local_path(source.outputs_key)
    if not path.is_file() or sha256_file(path) != source.outputs_sha256:
        raise outputs.InvalidOutputs(f"The output file of evaluation {source.number} has changed since it was written.")
    EvalOutput.objects.filter(eval_run=run).delete()
    keys = run_documents.documents(run)
    try:
        rows = {str(row["id"]): row for row in run_documents.rows(run)}
    except FileNotFoundError as gone:
        raise outputs.InvalidOutputs(str(gone)) from gone
    compiled, backend = run.dataset.schema_version.compiled, source.backend
    noise = LabelNoise()
    digest = hashlib.sha256()
    stored = 0
    with artifacts.local_path(run.outputs_key).open("wb") as copy:
        for batch in _batches(source, rows):
            made = []
            for line, event, key in batch:
                row = rows[key]
                output = outputs.scored_output(run, backend, compiled, document_id=keys[key], row=row, event=event)
                made.append(output)
                copy.write(line)
                digest.update(line)
            EvalOutput.objects.bulk_create(made)
            _compare(noise, source, made)
            stored += len(made)
            if not run.send_heartbeat(stage="scoring", progress_done=stored, progress_total=len(rows)):
                run.cancelled(progress_done=stored)
                return
    if not stored:
        raise outputs.InvalidOutputs(f"Evaluation {source.number} has no output for any document of {run.dataset}.")
    _copy_spec(source, run)
    _finish(run, source, noise, digest.hexdigest())


def _batches(source: EvalRun, rows: dict[str, Any]) -> Iterator[list[tuple[bytes, dict[str, Any], str]]]:
    """The lines of the first evaluation's file that belong to documents of the new version, in batches."""

    def matching() -> Iterator[tuple[bytes, dict[str, Any], str]]:
        seen: set[str] = set()  # the first output of a document counts, as when it was stored
        with artifacts.local_path(source.outputs_key).open("rb") as file:
            for line in file:
                # Outputs can contain anything, so this is as lenient as the writer.
                event = json.loads(line)
                key = str(event["id"])
                if key in rows and key not in seen:
                    seen.add(key)
                    yield line, event, key

    lines = matching()
    while batch := list(islice(lines, BATCH)):
        yield batch


def _compare(noise: LabelNoise, source: EvalRun, made: list[EvalOutput]) -> None:
    """Compares new scores with the old ones of the same outputs."""
    keys = [output.document_id for output in made]
    old = EvalOutput.objects.filter(eval_run=source, document__in=keys)
    before = {key: (gold, score) for key, gold, score in old.values_list("document_id", "gold", "score")}
    for output in made:
        gold, score = before.get(output.document_id, (None, None))
        noise.add(output.document_id, score, output.score, corrected=not same(gold, output.gold))


def _copy_spec(source: EvalRun, run: EvalRun) -> None:
    """A manifest needs the spec of every evaluation."""
    if source.spec:
        artifacts.write_text(run.spec_key, source.spec)


def _finish(run: EvalRun, source: EvalRun, noise: LabelNoise, sha256: str) -> None:
    done = list(EvalOutput.objects.filter(eval_run=run).order_by("document_id"))
    of = families_of(run.dataset, run.split)
    scores = summary.summarize_outputs(run.dataset.schema_version.compiled, done, of)
    facts = {
        **{name: value for name, value in source.facts.items() if name not in _JOB_FACTS},
        **run.facts,
        "slices": current_slices(done),
        "scorer_code": scorer_code(),
        "families": summary.family_facts(run, done),
        "bounds": {"field_exact": summary.field_accuracy_interval(done, of)},
        **summary.token_counts(done),
        "rescored": {
            "noise": noise.as_dict(),
            **_left_out(run, source),
            "before": _rates_before(source),
            "scorer": "" if source.scorer_version == SCORER_VERSION else source.scorer_version,
            "schema": source.dataset.schema_version_id != run.dataset.schema_version_id,
        },
    }
    finished = run.finish(
        progress_done=len(done),
        progress_total=len(done),
        scores=scores,
        latency=distribution(summary.latencies(done)),
        facts=facts,
        scorer_version=SCORER_VERSION,
        outputs_sha256=sha256,
    )
    if finished and _is_latest_evaluation(source):
        outputs.update_document_scores(run, done)


def _left_out(run: EvalRun, source: EvalRun) -> dict[str, Any]:
    """How many documents only one side has, with the first ids: removed since, and never answered."""
    mine = EvalOutput.objects.filter(eval_run=run).values("document")
    gone = EvalOutput.objects.filter(eval_run=source).exclude(document__in=mine)
    fresh = run.dataset.items.filter(split=run.split).exclude(document__in=mine)
    counts: dict[str, Any] = {}
    for name, rows in (("gone", gone), ("unanswered", fresh)):
        names = rows.order_by("document_id").values_list("document__external_id", flat=True)
        counts[name] = rows.count()
        counts[f"{name}_ids"] = list(names[:MAX_LISTED])
    return counts


def _rates_before(source: EvalRun) -> dict[str, Any]:
    """The rates before, over all documents at that time."""
    names = ("schema_valid", "field_exact", "document_exact")
    return {name: source.scores[name] for name in names if name in source.scores}


def _is_latest_evaluation(source: EvalRun) -> bool:
    """Whether no later evaluation of the project's documents has finished, whose scores would be newer."""
    later = EvalRun.objects.filter(
        project=source.project_id, number__gt=source.number, benchmark=None, rescored_from=None, status=Status.DONE
    )
    return not later.exists()


# -- several at once ---------------------------------------------------------------------------------------------------


def outdated_runs(project: Project, dataset: DatasetVersion, documents: list[int]) -> list[EvalRun]:
    """Finished evaluations of one of these documents that are scored with an older version than ``dataset``."""
    scored: Any = EvalRun.objects.filter(dataset=dataset, rescored_from__isnull=False)
    scored = scored.exclude(status__in=(Status.FAILED, Status.CANCELLED)).values("rescored_from")
    answered = EvalOutput.objects.filter(document__in=documents).values("eval_run")
    rows = EvalRun.objects.filter(
        project=project, pk__in=answered, rescored_from=None, benchmark=None, dataset__number__lt=dataset.number
    )
    return list(rows.done().exclude(pk__in=scored).with_model().order_by("-number")[:30])

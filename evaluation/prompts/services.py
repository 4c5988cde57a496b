"""Prompt searches: start, cancel, and what others must not use of them."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from evaluation.audit import services as audit_services
from evaluation.inference.backends import backend_class_of
from evaluation.models import Endpoint, PromptSearch
from evaluation.prompts import search
from evaluation.runs import few_shot
from labeling.datasets import queries as dataset_queries
from labeling.datasets import splits
from labeling.models import DatasetVersion, Project, Split
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from training.models import BaseModel

MIN_DOCUMENTS, MAX_DOCUMENTS, DEFAULT_DOCUMENTS = 10, 100, 20
MIN_TRIALS, MAX_TRIALS, DEFAULT_TRIALS = 2, 20, 8
MAX_MINUTES, DEFAULT_MINUTES = 24 * 60, 60


@transaction.atomic
def start_search(
    *,
    project: Project,
    user: User | None,
    dataset: DatasetVersion,
    model: BaseModel | Endpoint,
    documents: int = DEFAULT_DOCUMENTS,
    max_trials: int = DEFAULT_TRIALS,
    max_minutes: int = DEFAULT_MINUTES,
    max_cost: float | None = None,
) -> PromptSearch:
    """Queues a search for a better prompt of a model on validation documents, which are drawn by the dataset's seed.

    It never sees the hold-out. It ends after ``max_trials``, ``max_minutes`` or ``max_cost`` (in the currency of the
    contract).

    Raises:
        Refused: ``field`` is model, dataset, documents, max_trials, max_minutes or max_cost.
    """
    require(project, user, Action.RUN)
    _check_model(project, model)
    if problem := quotas.compute_problem(project):
        raise Refused(problem, field="model", code="quota")
    if dataset.project_id != project.pk or dataset.schema_version_id != project.schema_version.pk:
        raise Refused("Choose a dataset version of the current schema.", field="dataset")
    for name, value, low, high in (
        ("documents", documents, MIN_DOCUMENTS, MAX_DOCUMENTS),
        ("max_trials", max_trials, MIN_TRIALS, MAX_TRIALS),
        ("max_minutes", max_minutes, 1, MAX_MINUTES),
    ):
        if not low <= value <= high:
            raise Refused(f"Choose {low:,} to {high:,}.", field=name)
    if max_cost is not None and max_cost <= 0:
        raise Refused("The budget must be above 0.", field="max_cost")
    drawn = validation_documents(dataset, documents)
    if len(drawn) < documents:
        raise Refused(
            f"{dataset} has {len(drawn)} validation documents outside the hold-out. Choose fewer, at least "
            f"{MIN_DOCUMENTS}, or freeze a version with more.",
            field="documents",
        )
    made = PromptSearch(
        project=project,
        number=project.next_number(PromptSearch),
        dataset=dataset,
        documents=drawn,
        seed=dataset.seed,
        max_trials=max_trials,
        max_minutes=max_minutes,
        max_cost=max_cost,
        progress_total=max_trials,
        created_by=user,
        **{"endpoint" if isinstance(model, Endpoint) else "base_model": model},
    )
    made.full_clean()
    made.save()
    audit_services.record(
        project=project,
        user=user,
        action="started",
        about=f"prompt search {made.number}",
        details={"model": str(model), "dataset": dataset.sha256, "documents": len(drawn), "trials": max_trials},
    )
    made.enqueue()
    return made


def _check_model(project: Project, model: BaseModel | Endpoint) -> None:
    if isinstance(model, Endpoint):
        if model.project_id != project.pk:
            raise Refused("That endpoint belongs to another project.", field="model")
        mode = decoding_mode(model)
        backend_class_of(model).check_model(model, mode=mode, at_once=1)
    elif not model.is_prepared:
        raise Refused(f"{model} is not prepared. Prepare it first.", field="model")


def decoding_mode(model: BaseModel | Endpoint) -> str:
    """The decoding mode of the trials: constrained where the model supports it."""
    return "constrained" if backend_class_of(model).supports(model, "constrained") else "free"


def validation_documents(dataset: DatasetVersion, count: int) -> list[int]:
    """Keys of up to ``count`` validation documents that were never in the hold-out, drawn by the dataset's seed."""
    rows = dataset.items.filter(split=Split.VALIDATION, document__holdout=False)
    found = rows.values_list("document__external_id", "document_id")
    ordered = sorted(found, key=lambda row: splits.hash_fraction(dataset.seed, "prompt", row[0].encode()))
    keys = [pk for _, pk in ordered]
    return [key for key in keys if not few_shot.in_holdout([key])][:count]


def cancel(*, run: PromptSearch, user: User | None) -> bool:
    """Cancels a queued search at once and asks a running one to stop. False if it had ended before."""
    require(run.project, user, Action.RUN)
    if not run.cancel():
        return False
    audit_services.record(project=run.project, user=user, action="cancelled", about=f"prompt search {run.number}")
    return True


def space_of(run: PromptSearch) -> search.Space:
    """What a search varies: reads the training documents outside the hold-out."""
    usual = few_shot.sample_few_shot_keys(run.dataset, Split.TRAIN)
    names: dict[str, int] = dict(
        run.dataset.items.filter(split=Split.TRAIN, document__holdout=False).values_list(
            "document__external_id", "document_id"
        )
    )
    compiled = run.dataset.schema_version.compiled
    classes = [one.pattern for one in compiled.fields if one.is_choice and "[]" not in one.pattern]
    labeled: dict[int, str] = {}
    lengths: dict[int, int] = {}
    for row in dataset_queries.rows(run.dataset, Split.TRAIN):
        key = names.get(str(row["id"]))
        if key is not None:
            labeled[key] = _label(row["gold"], classes)
            lengths[key] = len(row["text"])
    return search.Space(
        search.instructions(run.dataset.instruction, compiled),
        search.example_sets(usual, labeled, lengths, seed=run.seed),
    )


def _label(gold: Any, classes: list[str]) -> str:
    """The value of the first class, over which examples are spread; "" without one."""
    return dumps(gold.get(classes[0])) if classes and isinstance(gold, dict) else ""


def searched_documents(searches: Any) -> list[int]:
    """Documents that chose the prompts of these searches, and so must not score them."""
    return sorted({key for one in searches for key in (*one.documents, *one.examples)})

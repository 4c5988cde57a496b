"""The prompt search as a kind of study: one generation over the validation documents for each trial."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from django.http import QueryDict
from pydantic import Field

from evaluation.inference.backend import ModelUnavailable, Output, Task
from evaluation.inference.backends import backend_class_of
from evaluation.inference.circuit_breaker import EndpointError
from evaluation.models import Endpoint, OptimizedPrompt
from evaluation.prompts.search import Prompt, Space, Trial, example_sets, instructions
from evaluation.runs import run_documents
from evaluation.scores.score_view import ScoreView
from labeling.datasets import queries as dataset_queries
from labeling.datasets import splits
from labeling.datasets.queries import FEW, dataset_warnings
from labeling.models import Contract, DatasetVersion, Document, Project, Split, Study
from labeling.studies.kinds import Choices, Stopped, StudyKind, StudySpec, no_dataset
from slmstudio.contract.json_text import dumps
from slmstudio.contract.scoring.scorer import score_document
from slmstudio.database.fields import storable
from slmstudio.database.transactions import with_retries
from slmstudio.errors import Refused
from slmstudio.runs.supervisor import ChildExit, Event
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file
from slmstudio.text.formatting import percent
from training.child_processes import ChildCancelled
from training.models import BaseModel
from training.runs.queries import newest_dataset

MIN_DOCUMENTS = 10
_MOVED = "A few-shot example is in the hold-out now. Freeze a new version."
Rows = dict[str, dict[str, Any]]


class PromptSpec(StudySpec):
    """A model and a budget."""

    model: str = Field(title="Model")
    documents: int = Field(
        20,
        ge=MIN_DOCUMENTS,
        le=100,
        title="Validation documents",
        description="Each trial is scored on all of them. Benchmarks of the prompt exclude them.",
    )
    trials: int = Field(8, ge=2, le=20, title="Trials", description="The first trial is the current prompt.")
    minutes: int = Field(60, ge=1, le=24 * 60, title="Minutes", description="No trial starts after this time.")
    cost: float | None = Field(
        None,
        gt=0,
        title="Cost",
        description="Optional, in the currency of the contract. No trial starts once this amount is spent.",
    )


class PromptSearch(StudyKind[PromptSpec]):
    """Instructions and few-shot examples for a base model or an endpoint. The best prompt can be benchmarked."""

    key = "prompt"
    title = "Prompt search"
    about = (
        "Tries variants of the instruction and sets of few-shot examples on validation documents, and keeps the "
        "best prompt. The hold-out is not used."
    )
    spec = PromptSpec
    template = "evaluation/prompts/panel.html"
    on_gpu = True
    groups = {"trials": "Budget"}

    def choices(self, project: Project) -> dict[str, Choices]:
        models = prompted_models(project).items()
        bases = [(key, str(model)) for key, model in models if isinstance(model, BaseModel)]
        external = [(key, str(model)) for key, model in models if isinstance(model, Endpoint)]
        groups = {"Base models": bases, "External (documents are sent to the endpoint)": external}
        return {"model": [(title, rows) for title, rows in groups.items() if rows]}

    def defaults(self, project: Project, chosen: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": chosen["model"]} if chosen.get("model") else {}

    def form_context(self, project: Project, values: Mapping[str, Any]) -> dict[str, Any]:
        dataset = newest_dataset(project)
        if dataset is None:
            return no_dataset(project)
        return {"dataset_warnings": dataset_warnings(dataset, {Split.VALIDATION: FEW})}

    def plan(self, study: Study, spec: PromptSpec) -> None:
        model = prompted_models(study.project).get(spec.model)
        if model is None:
            raise Refused("Choose a prepared base model or an endpoint of this project.", field="model")
        if isinstance(model, Endpoint):
            backend_class_of(model).check_model(model, mode=decoding_mode(model), concurrency=1)
        study.dataset = newest_dataset(study.project)
        if study.dataset is None:
            raise Refused("Freeze a dataset version of the current schema.", field="form")
        drawn = validation_documents(study.dataset, spec.documents)
        if len(drawn) < spec.documents:
            raise Refused(
                f"{study.dataset} has {len(drawn)} validation documents outside the hold-out. Choose fewer, at least "
                f"{MIN_DOCUMENTS}, or freeze a version with more.",
                field="documents",
            )
        study.progress_total = spec.trials

    def begin(self, study: Study, spec: PromptSpec) -> None:
        """The prompt, which is empty until the search is done."""
        if OptimizedPrompt.objects.filter(study=study).exists():
            return
        assert study.dataset is not None
        model = prompted_models(study.project)[spec.model]
        OptimizedPrompt.objects.create(
            study=study,
            project=study.project,
            number=study.number,
            dataset=study.dataset,
            documents=validation_documents(study.dataset, spec.documents),
            **{"endpoint" if isinstance(model, Endpoint) else "base_model": model},
        )

    def steps(self, study: Study, spec: PromptSpec) -> Iterator[dict[str, Any]]:
        """Prompts until the budget is spent. Trials of a model whose settings have changed since are tried again."""
        prompt = _prompt_of(study)
        settings = _settings(prompt)
        space, rows = space_of(prompt), _rows(prompt)
        spent = [Trial.parse(values) for values in study.trials]
        measured = _measured(study, prompt)
        for number, tried in enumerate(space.prompts(), start=1):
            if measured and measured[0].prompt == tried:
                space.trials.append(measured.pop(0))
                continue
            if number > spec.trials or (space.trials and _is_spent(spec, spent)):
                return
            measured.clear()
            with_retries(lambda number=number: study.record(stage=f"trial {number}"))  # type: ignore[misc]
            trial = _try(study, prompt, tried, rows)
            space.trials.append(trial)
            spent.append(trial)
            yield {**trial.as_dict(), "settings": settings}

    def conclude(self, study: Study, spec: PromptSpec) -> dict[str, Any]:
        prompt = _prompt_of(study)
        best = Space([], [], _measured(study, prompt)).best()
        assert best is not None
        if run_documents.in_holdout(list(best.prompt.examples)):
            raise Refused(_MOVED)
        OptimizedPrompt.objects.filter(pk=prompt.pk).update(
            instruction=best.prompt.instruction, examples=list(best.prompt.examples)
        )
        return {
            "instruction": best.prompt.instruction,
            "examples": list(best.prompt.examples),
            "summary": f"{percent(best.accuracy)} field accuracy",
        }

    def panel(self, study: Study, spec: PromptSpec, query: QueryDict) -> dict[str, Any]:
        prompt = _prompt_of(study)
        accuracies = [trial["accuracy"] for trial in study.trials]
        names = dict(Document.objects.filter(pk__in=prompt.examples).values_list("pk", "external_id"))
        return {
            "prompt": prompt,
            "examples": [names[key] for key in prompt.examples if key in names],
            "best": accuracies.index(max(accuracies)) + 1 if accuracies else 0,
        }


PROMPT = PromptSearch()


def prompted_models(project: Project) -> dict[str, BaseModel | Endpoint]:
    """The models whose prompt can be optimized, by their key in forms."""
    bases = {f"base-{model.slug}": model for model in BaseModel.objects.decoders().prepared().order_by("name")}
    return {**bases, **{f"endpoint-{model.pk}": model for model in Endpoint.objects.in_use(project)}}


def decoding_mode(model: BaseModel | Endpoint) -> str:
    """The decoding mode of the trials: constrained where the model supports it."""
    return "constrained" if backend_class_of(model).supports(model, "constrained") else "free"


def validation_documents(dataset: DatasetVersion, count: int) -> list[int]:
    """Keys of up to ``count`` validation documents that were never in the hold-out, drawn by the dataset's seed."""
    rows = dataset.items.filter(split=Split.VALIDATION, document__holdout=False)
    names = rows.values_list("document__external_id", "document_id")
    ordered = sorted(names, key=lambda row: splits.hash_fraction(dataset.seed, "prompt", row[0].encode()))
    keys = [pk for _, pk in ordered]
    return [key for key in keys if not run_documents.in_holdout([key])][:count]


def searched_documents(prompts: Any) -> list[int]:
    """Documents that chose these prompts, and so must not score them."""
    return sorted({key for prompt in prompts for key in (*prompt.documents, *prompt.examples)})


def space_of(prompt: OptimizedPrompt) -> Space:
    """What a search varies: reads the training documents outside the hold-out."""
    dataset = prompt.dataset
    usual = run_documents.sample_few_shot_keys(dataset, Split.TRAIN)
    items = dataset.items.filter(split=Split.TRAIN, document__holdout=False)
    keys = dict(items.values_list("document__external_id", "document_id"))
    compiled = dataset.schema_version.compiled
    classes = [field.pattern for field in compiled.fields if field.is_choice and "[]" not in field.pattern]
    labeled: dict[int, str] = {}
    lengths: dict[int, int] = {}
    for row in dataset_queries.rows(dataset, Split.TRAIN):
        key = keys.get(str(row["id"]))
        if key is not None:
            # Examples are spread over the values of the first class.
            is_classified = classes and isinstance(row["gold"], dict)
            labeled[key] = dumps(row["gold"].get(classes[0])) if is_classified else ""
            lengths[key] = len(row["text"])
    return Space(instructions(dataset.instruction, compiled), example_sets(usual, labeled, lengths, seed=dataset.seed))


def _prompt_of(study: Study) -> OptimizedPrompt:
    rows = OptimizedPrompt.objects.select_related("dataset__schema_version", "base_model", "endpoint", "project")
    prompt: OptimizedPrompt = rows.get(study=study)
    prompt.study = study
    return prompt


def _settings(prompt: OptimizedPrompt) -> Any:
    """What else decides the outputs."""
    return storable({**prompt.backend.facts(), "mode": decoding_mode(prompt.model)})


def _measured(study: Study, prompt: OptimizedPrompt) -> list[Trial]:
    """The trials of the model as it is now."""
    settings = _settings(prompt)
    return [Trial.parse(values) for values in study.trials if values.get("settings") == settings]


def _is_spent(spec: PromptSpec, trials: list[Trial]) -> bool:
    cost = sum(trial.cost or 0.0 for trial in trials)
    minutes = sum(trial.seconds for trial in trials) / 60
    return minutes >= spec.minutes or (spec.cost is not None and cost >= spec.cost)


def _rows(prompt: OptimizedPrompt) -> Rows:
    """The rows of the search's documents in the dataset file, by id."""
    if Document.objects.filter(pk__in=prompt.documents, holdout=True).exists():
        raise Refused("A document of this search is in the hold-out now. Start a new search.")
    names = set(Document.objects.filter(pk__in=prompt.documents).values_list("external_id", flat=True))
    return {str(row["id"]): row for row in dataset_queries.rows(prompt.dataset) if str(row["id"]) in names}


def _try(study: Study, prompt: OptimizedPrompt, tried: Prompt, rows: Rows) -> Trial:
    """One generation with a prompt, scored. Raises Stopped or Refused."""
    schema, dataset = prompt.dataset.schema_version, prompt.dataset
    outputs: dict[str, Event] = {}
    facts: dict[str, Any] = dict(prompt.backend.facts())
    if run_documents.in_holdout(list(tried.examples)):
        raise Refused(_MOVED)

    def documents_file() -> dict[str, Any]:
        path = dataset_queries.file_path(dataset)
        if sha256_file(path) != dataset.sha256:
            raise ModelUnavailable(f"The file of {dataset} has changed since it was frozen. Freeze a new version.")
        return {"path": str(path), "sha256": dataset.sha256, "split": "validation", "ids": list(rows)}

    def on_output(output: Output) -> None:
        outputs[str(output.event["id"])] = output.event

    def on_event(event: Event) -> None:
        if event["event"] in ("start", "done"):
            facts.update({name: value for name, value in event.items() if name != "event"})

    began = time.monotonic()
    task = Task(
        job=study,
        compiled=schema.compiled,
        schema_text=schema.schema_text,
        schema_sha256=schema.sha256,
        instruction=tried.instruction,
        documents=lambda: ((key, row["text"]) for key, row in rows.items()),
        documents_file=documents_file,
        examples=lambda: run_documents.rows_of(dataset, list(tried.examples)),
        folder_key=study.folder_key,
        outputs=artifacts.local_path(f"{study.folder_key}/outputs.jsonl"),
        on_output=on_output,
        on_event=on_event,
        mode=decoding_mode(prompt.model),
        concurrency=1 if prompt.endpoint is None else prompt.endpoint.concurrency,
        seed=dataset.seed,
    )
    ending = _answer(prompt, task)
    if ending.cancelled or ending.interrupted:
        raise Stopped
    if not ending.ok:
        raise Refused(ending.error)
    return _scored(prompt, tried, rows, outputs, facts, time.monotonic() - began)


def _answer(prompt: OptimizedPrompt, task: Task) -> ChildExit:
    try:
        return prompt.backend.answer(task)
    except ChildCancelled as error:
        raise Stopped from error
    except (ModelUnavailable, EndpointError) as error:
        raise Refused(str(error)) from error


def _scored(
    prompt: OptimizedPrompt, tried: Prompt, rows: Rows, outputs: dict[str, Event], facts: dict[str, Any], seconds: float
) -> Trial:
    compiled, backend = prompt.dataset.schema_version.compiled, prompt.backend
    right = fields = exact = prompt_tokens = output_tokens = 0
    for key, row in rows.items():
        event = outputs.get(key, {"raw": "", "finish_reason": "error"})
        raw = backend.scorable_text(str(event.get("raw") or ""), benchmark=True)
        reason = str(event.get("finish_reason") or "stop")
        score = score_document(compiled, text=row["text"], gold=row["gold"], raw=raw, finish_reason=reason)
        count = ScoreView.of(score).count()
        right, fields, exact = right + int(count.correct), fields + int(count.total), exact + score.exact
        prompt_tokens += int(event.get("prompt_tokens") or 0)
        output_tokens += int(event.get("output_tokens") or 0)
    facts |= {"prompt_tokens": prompt_tokens, "output_tokens": output_tokens}
    contract = Contract.objects.filter(project=prompt.project_id).only("constraints").first()
    price = backend.price(facts, contract.constraints.get("hardware_price_per_hour") if contract else None)
    cost = price.of_run(facts, len(rows)).per_document
    total = None if cost is None else cost * len(rows)
    return Trial(tried, right, fields, exact, prompt_tokens + output_tokens, round(seconds, 1), total)

"""The background job of a prompt search: one generation over the validation documents for each trial."""

import logging
import time
from collections.abc import Iterator
from typing import Any

from evaluation.inference.backend import ModelUnavailable, Output, Task
from evaluation.inference.circuit_breaker import EndpointError
from evaluation.models import PromptSearch
from evaluation.prompts import services
from evaluation.prompts.search import Prompt, Space, Trial
from evaluation.runs import few_shot
from evaluation.scores.score_view import ScoreView
from labeling.datasets import queries as dataset_queries
from labeling.models import Contract, Document
from slmstudio.contract.scoring.scorer import score_document
from slmstudio.database.retries import UNAVAILABLE, with_retries
from slmstudio.database.storable import storable
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit, Event
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file
from training.child_processes import ChildCancelled

logger = logging.getLogger(__name__)
_MOVED = "A few-shot example is in the hold-out now. Freeze a new version."


def run_search(pk: int) -> None:
    """Tries prompts until the budget is spent, and keeps the best one. Delivered twice, it works once; after an
    interruption it continues with the next trial.
    """
    rows = PromptSearch.objects.select_related("project", "dataset__schema_version", "base_model", "endpoint")
    run = rows.filter(pk=pk).first()
    if run is None or not run.claim_attempt():
        return
    try:
        _search(run)
    except ChildCancelled:
        with_retries(run.cancelled)
    except (ModelUnavailable, Refused, EndpointError) as error:
        message = str(error)
        with_retries(lambda: run.fail(message))
    except UNAVAILABLE:
        logger.exception("prompt search %s lost the database", run.pk)
        raise
    except Exception as error:
        logger.exception("prompt search %s failed", run.pk)
        message = f"Unexpected error ({type(error).__name__}: {error})."
        with_retries(lambda: run.fail(message))


def _search(run: PromptSearch) -> None:
    space, began = services.space_of(run), time.monotonic()
    rows, measured = _rows(run), _measured(run)
    before = sum(one.seconds for one in measured) + float(run.facts.get("seconds_before") or 0)
    for number, prompt in enumerate(space.prompts(), start=1):
        if measured and measured[0].prompt == prompt:
            space.trials.append(measured.pop(0))
            continue
        if number > run.max_trials or (space.trials and _is_spent(run, space, before + time.monotonic() - began)):
            break
        measured.clear()
        with_retries(lambda number=number: run.record(stage=f"trial {number}", progress_done=number - 1))  # type: ignore[misc]
        ending, trial = _try(run, prompt, rows)
        if ending.cancelled:
            with_retries(lambda: _end(run, space, status=Status.CANCELLED))
            return
        if ending.interrupted:
            with_retries(run.release_attempt)
            return
        if not ending.ok:
            raise EndpointError(ending.error)
        space.trials.append(trial)
        with_retries(lambda: run.record(trials=[one.as_dict() for one in space.trials]))
    with_retries(lambda: _end(run, space, status=Status.DONE))


def _measured(run: PromptSearch) -> list[Trial]:
    """The trials of an attempt that was interrupted, as far as the model still has the settings that they had."""
    settings = storable({**run.backend.facts(), "mode": services.decoding_mode(run.model)})
    found = [Trial.of(one) for one in run.trials]
    if run.facts.get("settings") == settings:
        return found
    spent = {
        "seconds_before": float(run.facts.get("seconds_before") or 0) + sum(one.seconds for one in found),
        "cost_before": float(run.facts.get("cost_before") or 0) + sum(one.cost or 0 for one in found),
    }
    with_retries(lambda: run.record(facts={**run.facts, "settings": settings, **spent}, trials=[]))
    return []


def _is_spent(run: PromptSearch, space: Space, seconds: float) -> bool:
    """Whether the trials have spent the budget. ``seconds``: of the search so far, with earlier attempts."""
    cost = float(run.facts.get("cost_before") or 0) + sum(trial.cost or 0.0 for trial in space.trials)
    return seconds / 60 >= run.max_minutes or (run.max_cost is not None and cost >= run.max_cost)


def _end(run: PromptSearch, space: Space, *, status: str) -> None:
    if status == Status.CANCELLED:
        run.cancelled()
        return
    best = space.best()
    assert best is not None
    if few_shot.in_holdout(list(best.prompt.examples)):
        raise Refused(_MOVED)
    run.finish(
        instruction=best.prompt.instruction,
        examples=list(best.prompt.examples),
        trials=[one.as_dict() for one in space.trials],
        progress_done=len(space.trials),
    )


def _rows(run: PromptSearch) -> dict[str, dict[str, Any]]:
    """The rows of the search's documents in the dataset file, by id."""
    held_out = Document.objects.filter(pk__in=run.documents, holdout=True)
    if held_out.exists():
        raise Refused("A document of this search is in the hold-out now. Start a new search.")
    wanted = set(Document.objects.filter(pk__in=run.documents).values_list("external_id", flat=True))
    rows = (row for row in dataset_queries.rows(run.dataset) if str(row["id"]) in wanted)
    return {str(row["id"]): row for row in rows}


def _try(run: PromptSearch, prompt: Prompt, rows: dict[str, dict[str, Any]]) -> tuple[ChildExit, Trial]:
    """One generation with a prompt, scored."""
    schema, model = run.dataset.schema_version, run.model
    compiled, backend = schema.compiled, run.backend
    events: dict[str, Event] = {}
    facts: dict[str, Any] = dict(backend.facts())
    if few_shot.in_holdout(list(prompt.examples)):
        raise Refused(_MOVED)

    def documents() -> Iterator[tuple[str, str]]:
        return ((key, row["text"]) for key, row in rows.items())

    def documents_file() -> dict[str, Any]:
        path = dataset_queries.file_path(run.dataset)
        if sha256_file(path) != run.dataset.sha256:
            raise ModelUnavailable(f"The file of {run.dataset} has changed since it was frozen. Freeze a new version.")
        return {"path": str(path), "sha256": run.dataset.sha256, "split": "validation", "ids": list(rows)}

    def on_output(output: Output) -> None:
        events[str(output.event["id"])] = output.event

    def on_event(event: Event) -> None:
        if event["event"] in ("start", "done"):
            facts.update({name: value for name, value in event.items() if name != "event"})

    began = time.monotonic()
    task = Task(
        job=run,
        compiled=compiled,
        schema_text=schema.schema_text,
        schema_sha256=schema.sha256,
        instruction=prompt.instruction,
        documents=documents,
        documents_file=documents_file,
        examples=lambda: few_shot.rows_of(run.dataset, list(prompt.examples)),
        folder_key=run.folder_key,
        outputs=artifacts.local_path(f"{run.folder_key}/outputs.jsonl"),
        on_output=on_output,
        on_event=on_event,
        mode=services.decoding_mode(model),
        at_once=1 if run.endpoint is None else run.endpoint.at_once,
        seed=run.seed,
    )
    ending = backend.answer(task)
    return ending, _scored(run, prompt, rows, events, facts, time.monotonic() - began)


def _scored(
    run: PromptSearch,
    prompt: Prompt,
    rows: dict[str, dict[str, Any]],
    events: dict[str, Event],
    facts: dict[str, Any],
    seconds: float,
) -> Trial:
    compiled = run.dataset.schema_version.compiled
    right = fields = exact = prompt_tokens = output_tokens = 0
    for key, row in rows.items():
        event = events.get(key, {"raw": "", "finish_reason": "error"})
        raw = run.backend.scorable_text(str(event.get("raw") or ""), benchmark=True)
        reason = str(event.get("finish_reason") or "stop")
        score = score_document(compiled, text=row["text"], gold=row["gold"], raw=raw, finish_reason=reason)
        count = ScoreView.of(score).count()
        right, fields, exact = right + int(count.correct), fields + int(count.total), exact + score.exact
        prompt_tokens += int(event.get("prompt_tokens") or 0)
        output_tokens += int(event.get("output_tokens") or 0)
    facts |= {"prompt_tokens": prompt_tokens, "output_tokens": output_tokens}
    contract = Contract.objects.filter(project=run.project_id).only("constraints").first()
    price = run.backend.price(facts, contract.constraints.get("hardware_price_per_hour") if contract else None)
    cost = price.of_run(facts, len(rows)).per_document
    return Trial(
        prompt, right, fields, exact, prompt_tokens + output_tokens, round(seconds, 1),
        None if cost is None else cost * len(rows),
    )  # fmt: skip

"""The background job of a pre-label run."""

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

from evaluation.inference.backend import ModelUnavailable, Output, Task
from evaluation.inference.circuit_breaker import EndpointError
from evaluation.inference.completion import Completion, ResponseStatus
from evaluation.models import PrelabelItem, PrelabelRun
from evaluation.prelabels import services
from evaluation.prelabels.services import PrelabelWriter
from labeling.datasets import queries as dataset_queries
from labeling.models import Split
from slmstudio.contract.json_text import dumps
from slmstudio.database.transactions import with_retries
from slmstudio.errors import Refused
from slmstudio.runs.supervisor import Event
from slmstudio.storage import artifacts
from training.models import ModelVersion

logger = logging.getLogger(__name__)
SPLIT = "prelabel"
CHUNK = 50
#: what is stored of a child's start and done events
_FACTS = ("device", "precision", "threads", "docs_per_second", "peak_memory_bytes", "max_new_tokens")


def run_prelabels(pk: int) -> None:
    """Creates pre-labels for the documents of a run.

    Delivered twice, it works once (it claims the run). Stored answers stay and are not requested again: neither by the
    next worker, should this one be lost or stopped, nor by a new run.
    """
    rows = PrelabelRun.objects.with_model().select_related("project", "model_version__training_run__dataset")
    run = rows.filter(pk=pk).first()
    if run is None or not run.claim_attempt():
        return
    store = PrelabelWriter(run)
    facts: dict[str, Any] = {}
    try:
        _generate(run, store, facts)
    except (EndpointError, ModelUnavailable, Refused) as error:
        store.flush()
        services.mark_failed(run, str(error), facts)
    except Exception as error:
        logger.exception("pre-labels %s of project %s failed", run.number, run.project_id)
        services.mark_failed(run, f"Unexpected error ({type(error).__name__}: {error}).", facts)


def _generate(run: PrelabelRun, store: PrelabelWriter, facts: dict[str, Any]) -> None:
    compiled = run.schema_version.compiled

    def on_event(event: Event) -> None:
        kind = event["event"]
        if kind == "ready" and "spec" in event:
            run.record(spec=event["spec"])
        elif kind == "options":
            facts.update({name: value for name, value in event.items() if name != "event"}, tokens=store.tokens)
        elif kind in ("start", "done"):
            facts.update({name: event[name] for name in _FACTS if name in event})

    def on_output(output: Output) -> None:
        store.add(int(output.event["id"]), output.completion(compiled))

    task = Task(
        job=run,
        compiled=compiled,
        schema_text=run.schema_version.schema_text,
        schema_sha256=run.schema_version.sha256,
        instruction=run.instruction,
        documents=lambda: _within_budget(run, store),
        documents_file=lambda: _documents_file(run),
        examples=lambda: list(run.examples),
        folder_key=run.folder_key,
        outputs=artifacts.local_path(f"{run.folder_key}/outputs.jsonl"),
        on_output=on_output,
        on_event=on_event,
        confidence=True,
    )
    ending = run.backend.answer(task)
    with_retries(store.flush)  # before the next worker reads what is left
    if ending.interrupted:
        with_retries(run.release_attempt)
    elif ending.cancelled:
        services.mark_cancelled(run, facts)
    elif not ending.ok:
        raise EndpointError(ending.error)
    else:
        if run.backend.is_external:
            facts["budget_spent"] = _budget_spent(run, store)
        services.complete(run, facts)


def _budget_spent(run: PrelabelRun, store: PrelabelWriter) -> bool:
    return run.token_budget is not None and store.tokens >= run.token_budget


def _within_budget(run: PrelabelRun, store: PrelabelWriter) -> Iterator[tuple[str, str]]:
    """Id and text of each document until the token budget is spent."""
    documents = _pending_texts(run, store)
    while not _budget_spent(run, store) and (document := next(documents, None)) is not None:
        yield document


def _pending_texts(run: PrelabelRun, store: PrelabelWriter) -> Iterator[tuple[str, str]]:
    """Id and text of each pending document, read as needed; one that moved to the hold-out is recorded instead."""
    for items in _chunks(run):
        texts = services.documents_of(items)
        for item in items:
            if item.document_id in texts:
                yield str(item.document_id), texts[item.document_id]
            elif item.document_id:
                store.add(item.document_id, Completion(ResponseStatus.HELD_OUT))


def _documents_file(run: PrelabelRun) -> dict[str, Any]:
    """Writes the pending documents; with the gold of the training documents, from which output lengths are known."""
    assert run.model_version is not None
    path = artifacts.local_path(f"{run.folder_key}/documents.jsonl")
    with path.open("w", encoding="utf-8") as file:
        for row in _rows(run, run.model_version):
            file.write(dumps(row) + "\n")
    return {"path": str(path), "split": SPLIT}


def _rows(run: PrelabelRun, version: ModelVersion) -> Iterator[dict[str, Any]]:
    dataset = version.training_run.dataset
    if dataset.schema_version_id == run.schema_version_id:
        for number, row in enumerate(dataset_queries.rows(dataset, Split.TRAIN)):
            yield {"id": f"known-{number}", "split": str(Split.TRAIN), "text": "", "gold": row["gold"]}
    has_documents = False
    for items in _chunks(run):
        for pk, text in services.documents_of(items).items():
            has_documents = True
            yield {"id": str(pk), "split": SPLIT, "text": text, "gold": None}
    if not has_documents:
        raise EndpointError("No documents left to process.")


def _chunks(run: PrelabelRun) -> Iterator[list[PrelabelItem]]:
    rows = services.pending_items(run).iterator(chunk_size=CHUNK)
    while items := list(islice(rows, CHUNK)):
        yield items

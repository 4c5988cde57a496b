"""The task that a backend gets for an eval run, and how its outputs were generated."""

from collections.abc import Callable, Iterable
from typing import Any

from evaluation.inference.backend import ModelUnavailable, Output, Task
from evaluation.models import EvalRun
from evaluation.runs import run_documents
from labeling.datasets import queries as dataset_queries
from labeling.models import Split
from slmstudio.runs.models import BackgroundRun, Status
from slmstudio.runs.supervisor import Event
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file
from training.models import ModelVersion


def resolve_model_version(run: EvalRun) -> None:
    """Stores the model version of the run's training. Raises ModelUnavailable if the training left none."""
    training = run.training_run
    if training is None or run.model_version is not None:
        return
    training.refresh_from_db()
    version = ModelVersion.objects.chosen().filter(training_run=training).first()
    if training.status != Status.DONE or version is None:
        reason = f": {training.error}" if training.error else "."
        raise ModelUnavailable(
            f"Training run “{training}” {training.get_status_display().lower()} and did not produce a model{reason}"
        )
    run.record(model_version=version)


def evaluation_task(
    run: EvalRun,
    *,
    documents: Callable[[], Iterable[tuple[str, str]]],
    on_output: Callable[[Output], None],
    on_event: Callable[[Event], None],
    before_request: Callable[[], None] = lambda: None,
    job: BackgroundRun | None = None,
    folder_key: str = "",
) -> Task:
    """The documents of a run as a task. ``job`` and ``folder_key``: those of another job that repeats it."""
    dataset, schema = run.dataset, run.dataset.schema_version
    folder_key = folder_key or run.folder_key
    return Task(
        job=job or run,
        compiled=schema.compiled,
        schema_text=schema.schema_text,
        schema_sha256=schema.sha256,
        instruction=dataset.instruction if run.prompt is None else run.prompt.instruction,
        documents=documents,
        documents_file=lambda: _documents_file(run),
        examples=lambda: run_documents.few_shot_examples(run),
        folder_key=folder_key,
        outputs=artifacts.local_path(f"{folder_key}/outputs.jsonl"),
        on_output=on_output,
        on_event=on_event,
        before_request=before_request,
        mode=str(run.mode),
        concurrency=run.concurrency,
        seed=dataset.seed,
        # Coverage needs it, which a gate report on the hold-out shows.
        confidence=run.split == Split.HOLDOUT,
    )


def _documents_file(run: EvalRun) -> dict[str, Any]:
    path = dataset_queries.file_path(run.dataset)
    if not path.is_file() or sha256_file(path) != run.dataset.sha256:
        raise ModelUnavailable(f"The file of {run.dataset} has changed since it was frozen. Freeze a new version.")
    return {
        "path": str(path),
        "sha256": run.dataset.sha256,
        "split": str(run.split),
        "ids": [] if run.benchmark is None else list(run_documents.documents(run)),
    }


def describe_setup(run: EvalRun) -> dict[str, str]:
    """How a run's outputs were generated, by name, to distinguish two runs."""
    backend = run.backend
    return {
        "Model": backend.label,
        **({"Decoding": run.mode_label.lower()} if backend.decodes else {}),
        "Dataset": f"{run.dataset}, {run.get_split_display().lower()}",
        **backend.describe(run.facts, run.spec),
    }

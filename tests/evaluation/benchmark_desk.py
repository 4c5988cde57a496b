"""A project with enough labelled documents for a benchmark, and models that answer without being run."""

import json
from pathlib import Path
from typing import Any

from evaluation.benchmarks import services as benchmark_services
from evaluation.models import Benchmark, EvalRun
from evaluation.runs import outputs
from evaluation.runs import services as run_services
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file
from tests.evaluation.factories import Say, World, make_base_model, make_world
from training.models import BaseModel

MODES = ["constrained", "free"]


def wide_world(folder: Path) -> World:
    """30 documents could judge: 32 outside the hold-out, two of them examples."""
    return make_world(folder / "small-base", documents=40, holdout=8)


def another_model(folder: Path) -> BaseModel:
    """A second base model, twice as large."""
    made = make_base_model(folder / "larger-base", slug="larger-base", name="Larger base 20M")
    made.parameters = 20_000_000
    made.save()
    return made


def started(world: World, *candidates: Any, modes: list[str] | None = None, documents: int = 20) -> Benchmark:
    """A benchmark that waits, of the world's base model unless others are named."""
    return benchmark_services.start_benchmark(
        project=world.project,
        user=world.engineer,
        candidates=candidates or [world.base_model],
        modes=modes or ["constrained"],
        documents=documents,
    )


def answered(run: EvalRun, say: Say, *, latency_ms: float = 300, memory: int = 812_000_000) -> EvalRun:
    """Ends a run as its job does, with a model that says of each row what ``say`` returns."""
    run = EvalRun.objects.with_model().select_related("project", "benchmark", "dataset").get(pk=run.pk)
    assert run.claim()
    store = outputs.OutputWriter(run)
    path = artifacts.local_path(run.outputs_key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(store.rows.values()):
            event = {
                "id": row["id"],
                "latency_ms": latency_ms + number,
                "prompt_tokens": 400,
                "output_tokens": 40,
                **say(row),
            }
            store.add(event)
            file.write(json.dumps(event) + "\n")
    store.flush()
    outputs.complete(
        run,
        sha256=sha256_file(path),
        facts={"docs_per_second": 1000 / latency_ms, "peak_memory_bytes": memory, "device": "cpu"},
    )
    run_services.evaluation_ended.call(run)
    return run


def finished(world: World, folder: Path, small: Say, large: Say, **changes: Any) -> Benchmark:
    """A benchmark of two base models in both modes that has ended; ``changes`` are the larger one's."""
    made = started(world, world.base_model, another_model(folder), modes=MODES)
    for run in made.runs.order_by("number"):
        if run.base_model == world.base_model:
            answered(run, small)
        else:
            answered(run, large, **changes)
    made.refresh_from_db()
    return made

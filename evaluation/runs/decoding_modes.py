"""The same model on the same documents in other decoding modes, with other weights (llama.cpp) or concurrency.
Constrained decoding can cost accuracy, and this shows how much.
"""

from typing import Any

from evaluation.models import EvalRun


def by_decoding_mode(run: EvalRun) -> list[EvalRun]:
    """The newest finished evaluation of each combination, with ``run`` for its own; empty if there is no other."""
    backend = run.backend
    rows = EvalRun.objects.of_model(backend.key, any_export=True).filter(
        project=run.project_id, dataset=run.dataset_id, split=run.split, benchmark=run.benchmark, rescored_from=None
    )
    newest: dict[tuple[Any, ...], EvalRun] = {}
    for other in [run, *rows.done().with_model().exclude(pk=run.pk).order_by("-number")[:60]]:
        key = other.backend.key
        if (key.name, key.url) == (backend.key.name, backend.key.url):
            newest.setdefault((other.mode, key.export, other.at_once), other)
    order = {mode: place for place, mode in enumerate(EvalRun.Mode.values)}
    found = sorted(newest.values(), key=lambda one: (one.backend.key.export or 0, one.at_once, order[one.mode]))
    return found if len(found) > 1 else []

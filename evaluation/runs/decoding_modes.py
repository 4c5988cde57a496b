"""The same model on the same documents, asked in other ways: free, held to the schema, held to the document; by
transformers or llama.cpp; one at a time or several. Being held can cost accuracy, and this shows what.
"""

from typing import Any

from evaluation.models import EvalRun


def ways(run: EvalRun) -> list[EvalRun]:
    """The newest finished evaluation of each way, this one for its own; empty where there is no other."""
    rows: Any = EvalRun.objects.filter(
        project=run.project_id,
        dataset=run.dataset_id,
        split=run.split,
        benchmark=run.benchmark,
        base_model=run.base_model,
        training_run=run.training_run,
        endpoint=run.endpoint,
        rescored_from=None,
    )
    if run.endpoint_id is not None:
        # The row of an endpoint can be given another address and another model.
        rows = rows.filter(facts__model=run.facts.get("model"), facts__url=run.facts.get("url"))
    newest: dict[tuple[Any, ...], EvalRun] = {}
    for one in [run, *rows.done().with_subject().exclude(pk=run.pk).order_by("-number")[:60]]:
        newest.setdefault((one.mode, one.export_id, one.at_once), one)
    order = {mode: place for place, mode in enumerate(EvalRun.Mode.values)}
    found = sorted(newest.values(), key=lambda one: (one.export_id or 0, one.at_once, order[one.mode]))
    return found if len(found) > 1 else []

"""Comparisons of two eval runs on the same documents."""

from evaluation.compare import compare
from evaluation.models import Comparison, EvalOutput, EvalRun
from slmstudio.runs import Status
from training.services.runs import Refused


def compare_runs(*, a: EvalRun, b: EvalRun) -> Comparison:
    """What ``b`` fixed and broke against ``a``, document by document; made once for a pair and kept.

    Both have ended, so their outputs do not change and neither does the comparison.

    Raises:
        Refused: the same run twice, a run that is not done, or no document in common.
    """
    if a.pk == b.pk:
        raise Refused("runs", "Choose two different evaluations.")
    if a.project_id != b.project_id:
        raise Refused("runs", "The two evaluations belong to different projects.")
    for run in (a, b):
        if run.status != Status.DONE:
            raise Refused("runs", f"Evaluation {run.number} is not done, so there is nothing to compare yet.")
    made = Comparison.objects.filter(a=a, b=b).first()
    if made is not None:
        return made
    result = compare(_scores(a), _scores(b))
    if not result.n:
        raise Refused("runs", f"Evaluations {a.number} and {b.number} have no document in common.")
    comparison, _ = Comparison.objects.get_or_create(
        a=a, b=b, defaults={"project_id": a.project_id, "result": result.as_dict()}
    )
    comparison.refresh_from_db(fields=["result"])  # as JSON has it, whoever asks first
    return comparison


def _scores(run: EvalRun) -> list[tuple[str, object]]:
    rows = EvalOutput.objects.filter(eval_run=run).order_by("document_id")
    return list(rows.values_list("document__external_id", "score"))

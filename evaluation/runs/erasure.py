"""Empties the outputs of erased documents; the outcomes of their fields stay, as scores are figures over them."""

from typing import Any

from django.db import transaction

from evaluation.models import EvalOutput, LabelChallenge, SuspectLabel


@transaction.atomic
def empty_outputs(documents: list[int]) -> None:
    """Erases gold labels, outputs and values from the outputs of these documents, and what was said about their
    labels.
    """
    LabelChallenge.objects.filter(document__in=documents).delete()
    SuspectLabel.objects.filter(document__in=documents).delete()
    for pk, score in EvalOutput.objects.filter(document__in=documents).values_list("pk", "score").iterator():
        EvalOutput.objects.filter(pk=pk).update(gold={}, raw="", error="", score=score and _without_values(score))


def _without_values(score: dict[str, Any]) -> dict[str, Any]:
    """A DocumentScore without what it quotes."""
    fields = [{**field, "gold": None, "output": None} for field in score["fields"]]
    problems = [{**problem, "message": ""} for problem in score["problems"]]
    return {**score, "output": None, "fields": fields, "problems": problems, "free": []}

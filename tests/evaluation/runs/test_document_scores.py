"""An evaluation tells each document how it went, and the newest one counts."""

import pytest

from labeling.models import DocumentScore
from tests.evaluation.factories import World, broken, evaluated, pretend, right


def test_each_document_of_an_evaluation_has_the_share_of_fields_that_were_right(world: World) -> None:
    run = evaluated(world, pretend(3, spoil=0.4), split="train")
    rows = {row.document_id: row for row in DocumentScore.objects.all()}
    outputs = list(run.outputs.all())
    assert len(rows) == len(outputs) > 5
    assert {row.source for row in rows.values()} == {f"evaluation {run.number}"}
    for output in outputs:
        fields = [one for one in output.score["fields"] if one["outcome"] != "both_absent"]
        right_ones = sum(one["outcome"] == "correct" for one in fields)
        assert rows[output.document_id].score == pytest.approx(right_ones / len(fields))
        assert rows[output.document_id].wrong_fields == output.wrong_fields
    assert 0 < min(row.score for row in rows.values()) < 1


def test_the_newest_evaluation_counts(world: World) -> None:
    evaluated(world, right, split="train")
    assert set(DocumentScore.objects.values_list("score", flat=True)) == {1.0}
    run = evaluated(world, broken, split="train")
    assert set(DocumentScore.objects.values_list("score", "source")) == {(0.0, f"evaluation {run.number}")}


def test_the_hold_out_leaves_no_scores(world: World) -> None:
    evaluated(world, broken)
    assert not DocumentScore.objects.exists()

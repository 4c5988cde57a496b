"""Judgments of requests."""

import uuid
from typing import Any

import pytest

from serving.models import Judgment
from serving.review import judgments
from slmstudio.errors import Refused
from tests.evaluation.factories import World
from tests.serving.review.rows import deployed, gold_of, logged

CALLER, REVIEWER = Judgment.Source.CALLER, Judgment.Source.REVIEWER


def judge(world: World, row: Any, **values: Any) -> Judgment:
    request = judgments.find_request(world.project, row.id)
    return judgments.judge(project=world.project, request=request, **{"right": None, "token_id": 7, **values})


def test_a_right_answer_has_only_right_fields(world: World) -> None:
    row = logged(deployed(world))
    found = judge(world, row, right=True)
    assert found.right
    assert set(found.fields.values()) == {True}
    assert set(found.fields) >= set(gold_of(39))
    assert found.correct_fields == found.counted_fields > 0
    assert (found.release_id, found.day, found.token_id, found.correction) == (row.release_id, row.day, 7, "")


def test_a_correction_names_the_wrong_fields(world: World) -> None:
    row = logged(deployed(world))
    corrected = gold_of(39) | {"vendor": "Another Company"}
    found = judge(world, row, output=corrected)
    assert not found.right
    assert [path for path, right in found.fields.items() if not right] == ["vendor"]
    assert found.counted_fields - found.correct_fields == 1
    assert '"Another Company"' in found.correction


def test_an_object_that_equals_the_output_counts_as_right(world: World) -> None:
    found = judge(world, logged(deployed(world)), output=gold_of(39))
    assert (found.right, found.correction) == (True, "")


def test_a_source_judges_once_and_may_change_its_mind(world: World) -> None:
    row = logged(deployed(world))
    first = judge(world, row, right=True)
    assert judge(world, row, right=True).pk == first.pk
    judge(world, row, right=False)
    score = judgments.OutputScore(True)
    judgments.store(project=world.project, request=row, source=REVIEWER, score=score, user=world.engineer)
    found = Judgment.objects.of(world.project).order_by("source")
    assert [(one.source, one.right) for one in found] == [(CALLER, False), (REVIEWER, True)]
    assert [one.source for one in found.by_people_of_the_project()] == [REVIEWER]
    judgments.store(project=world.project, request=row, source=Judgment.Source.GOLD, score=score)
    assert found.by_people_of_the_project().most_reliable([row.id])[row.id].source == Judgment.Source.GOLD


@pytest.mark.parametrize(("retention", "days"), [(0, 0.0), (5, 6.0)])
def test_without_a_stored_text_the_verdict_is_kept_and_the_correction_is_not(
    world: World, retention: int, days: float
) -> None:
    deployment = deployed(world, retention_days=retention)
    rows = [logged(deployment, days=days, text="", output="", confidence={}) for _ in range(2)]
    right, wrong = judge(world, rows[0], right=True), judge(world, rows[1], output=gold_of(39))
    assert (right.right, right.fields, right.correction) == (True, {}, "")
    assert (wrong.right, wrong.fields, wrong.correction) == (False, {}, "")


def test_a_failed_request_can_only_be_corrected(world: World) -> None:
    row = logged(deployed(world), status=502, code="invalid_output", valid=False, output="{")
    with pytest.raises(Refused) as caught:
        judge(world, row, right=True)
    assert (caught.value.field, caught.value.code) == ("right", "no_output")
    found = judge(world, row, output=gold_of(39))
    assert not found.right
    assert found.correct_fields == 0 < found.counted_fields


@pytest.mark.parametrize(("values", "field", "code"), [
    ({}, "right", "what"), ({"right": True, "output": {}}, "right", "what"), ({"output": []}, "output", "schema"),
    ({"output": {}}, "output.invoice_id", "schema"),
])  # fmt: skip
def test_what_is_refused_names_its_field(world: World, values: dict[str, Any], field: str, code: str) -> None:
    row = logged(deployed(world))
    with pytest.raises(Refused) as caught:
        judge(world, row, **values)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert not Judgment.objects.exists()


def test_unknown_foreign_and_shadow_requests_are_not_found(world: World) -> None:
    deployment = deployed(world)
    row = logged(deployment)
    other = logged(deployment, shadow_of=row.id)
    foreign = logged(deployment)
    type(foreign).objects.filter(id=foreign.id).update(project_id=deployment.project_id + 1)
    for one in (uuid.uuid4(), other.id, foreign.id):
        with pytest.raises(judgments.UnknownRequest):
            judgments.find_request(world.project, one)
    with pytest.raises(judgments.UnknownRequest):
        judgments.parse_id("x")
    assert judgments.parse_id(f"chatcmpl-{row.id}") == row.id

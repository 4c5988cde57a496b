"""Judgments of requests."""

import uuid
from typing import Any

import pytest

from serving.models import Deployment, Judgment
from serving.review import judgments
from slmstudio.errors import Refused
from tests.evaluation.factories import World
from tests.serving.review.rows import deployed, gold_of, logged

CALLER, REVIEWER = Judgment.Source.CALLER, Judgment.Source.REVIEWER


def judge(world: World, row: Any, **values: Any) -> Judgment:
    request = judgments.find_request(world.project, row.id)
    return judgments.judge(project=world.project, request=request, **{"right": None, "token_id": 7, **values})


def test_a_right_answer_has_only_right_fields(world: World, deployment: Deployment) -> None:
    row = logged(deployment)
    judgment = judge(world, row, right=True)
    assert judgment.right
    assert set(judgment.fields.values()) == {True}
    assert set(judgment.fields) >= set(gold_of(39))
    assert judgment.correct_fields == judgment.counted_fields > 0
    assert (judgment.release_id, judgment.day) == (row.release_id, row.day)
    assert (judgment.token_id, judgment.correction) == (7, "")


def test_a_correction_names_the_wrong_fields(world: World, deployment: Deployment) -> None:
    row = logged(deployment)
    corrected = gold_of(39) | {"vendor": "Another Company"}
    judgment = judge(world, row, output=corrected)
    assert not judgment.right
    assert [path for path, right in judgment.fields.items() if not right] == ["vendor"]
    assert judgment.counted_fields - judgment.correct_fields == 1
    assert '"Another Company"' in judgment.correction
    same = judge(world, logged(deployment), output=gold_of(39))
    assert (same.right, same.correction) == (True, "")


def test_a_source_judges_once_and_may_change_its_mind(world: World, deployment: Deployment) -> None:
    row = logged(deployment)
    first = judge(world, row, right=True)
    assert judge(world, row, right=True).pk == first.pk
    judge(world, row, right=False)
    score = judgments.OutputScore(True)
    judgments.store(project=world.project, request=row, source=REVIEWER, score=score, user=world.engineer)
    judged = Judgment.objects.of(world.project).order_by("source")
    assert [(judgment.source, judgment.right) for judgment in judged] == [(CALLER, False), (REVIEWER, True)]
    assert [judgment.source for judgment in judged.by_people_of_the_project()] == [REVIEWER]
    judgments.store(project=world.project, request=row, source=Judgment.Source.GOLD, score=score)
    assert judged.by_people_of_the_project().most_reliable([row.id])[row.id].source == Judgment.Source.GOLD


@pytest.mark.parametrize(("retention", "days"), [(0, 0.0), (5, 6.0)])
def test_without_a_stored_text_the_verdict_is_kept_and_the_correction_is_not(
    world: World, retention: int, days: float
) -> None:
    deployment = deployed(world, retention_days=retention)
    rows = [logged(deployment, days=days, text="", output="", confidence={}) for _ in range(2)]
    right, wrong = judge(world, rows[0], right=True), judge(world, rows[1], output=gold_of(39))
    assert (right.right, right.fields, right.correction) == (True, {}, "")
    assert (wrong.right, wrong.fields, wrong.correction) == (False, {}, "")


def test_a_failed_request_can_only_be_corrected(world: World, deployment: Deployment) -> None:
    row = logged(deployment, status=502, code="invalid_output", valid=False, output="{")
    with pytest.raises(Refused) as caught:
        judge(world, row, right=True)
    assert (caught.value.field, caught.value.code) == ("right", "no_output")
    judgment = judge(world, row, output=gold_of(39))
    assert not judgment.right
    assert judgment.correct_fields == 0 < judgment.counted_fields


def test_what_is_refused_names_its_field(world: World, deployment: Deployment) -> None:
    row = logged(deployment)
    refusals: list[tuple[dict[str, Any], str, str]] = [
        ({}, "right", "what"), ({"right": True, "output": {}}, "right", "what"), ({"output": []}, "output", "schema"),
        ({"output": {}}, "output.invoice_id", "schema"),
    ]  # fmt: skip
    for values, field, code in refusals:
        with pytest.raises(Refused) as caught:
            judge(world, row, **values)
        assert (caught.value.code, caught.value.field) == (code, field)
    assert not Judgment.objects.exists()


def test_unknown_foreign_and_shadow_requests_are_not_found(world: World, deployment: Deployment) -> None:
    row = logged(deployment)
    other = logged(deployment, shadow_of=row.id)
    foreign = logged(deployment)
    type(foreign).objects.filter(id=foreign.id).update(project_id=deployment.project_id + 1)
    for request_id in (uuid.uuid4(), other.id, foreign.id):
        with pytest.raises(judgments.UnknownRequest):
            judgments.find_request(world.project, request_id)
    with pytest.raises(judgments.UnknownRequest):
        judgments.parse_id("x")
    assert judgments.parse_id(f"chatcmpl-{row.id}") == row.id

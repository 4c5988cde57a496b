"""Drawing requests for review, and the items that they become."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labeling.projects.services import create_project
from serving.models import AnswerPolicy, Deployment, Judgment, RequestLog, SampleDay, SamplePlan
from serving.models.review import Draw, Reason, ReviewItem
from serving.review import judgments, sampling
from serving.review.sampling import draw
from slmstudio.contract.json_text import dumps
from tests.evaluation.factories import World
from tests.serving.review.rows import deployed, gold_of, logged

HOUR = 1 / 24


def draw_now(deployment: Deployment) -> int:
    return draw(deployment.pk, timezone.now())


def plan(deployment: Deployment, **changes: Any) -> SamplePlan:
    row, _ = SamplePlan.objects.update_or_create(deployment=deployment, defaults=changes)
    return row


def test_requests_are_drawn_and_counted_once(deployment: Deployment) -> None:
    plan(deployment, share=1.0)
    rows = [logged(deployment, number, days=HOUR) for number in (36, 37, 38)]
    logged(deployment, 35)  # it may not have ended
    assert draw_now(deployment) == 3
    assert draw_now(deployment) == 0
    draws = {draw.request_id: draw for draw in Draw.objects.all()}
    assert set(draws) == {row.id for row in rows}
    assert {draw.uniform_probability for draw in draws.values()} == {1.0}
    day = SampleDay.objects.get(release=deployment.stable)
    assert (day.requests, day.answered) == (3, 3)


def test_the_sampling_rate_is_stored_with_each_draw(deployment: Deployment) -> None:
    places = [sampling.position(uuid.UUID(int=number)) for number in range(20_000)]
    assert sum(place < 0.1 for place in places) / 20_000 == pytest.approx(0.1, abs=0.01)
    assert all(0 <= place < 1 for place in places)
    plan(deployment, share=0.125, redact=["email"])
    for number in range(20):  # the draw depends on the request's id
        logged(deployment, days=HOUR, id=uuid.UUID(int=number), text=f"Invoice for {'ab'[number % 2]}@mail.example")
    drawn = draw_now(deployment)
    assert drawn == sum(place < 0.125 for place in places[:20])
    assert {draw.uniform_probability for draw in Draw.objects.all()} == {0.125}
    assert ReviewItem.objects.get().draws_count == drawn  # the same redacted text once


def test_a_reason_is_drawn_up_to_its_number_a_day(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "PER_DAY", 3)
    now = timezone.now().replace(hour=12)
    plan(deployment, share=0.0, drawn_until=now - timedelta(hours=1))
    for at in (0, 1):
        for _ in range(2 + at):
            row = logged(deployment, status=502, code="invalid_output", valid=False, output="")
            moment = now - timedelta(minutes=30 - 20 * at)
            RequestLog.objects.filter(id=row.id).update(created_at=moment)
        assert draw(deployment.pk, now - timedelta(minutes=20 - 20 * at)) == (2, 1)[at]


def test_the_threshold_of_the_answer_policy_says_what_a_low_confidence_is(deployment: Deployment) -> None:
    plan(deployment, share=1.0)
    AnswerPolicy.objects.create(deployment=deployment, min_confidence=0.6)
    sure, unsure = (logged(deployment, days=HOUR, text=f"{low}", lowest=low) for low in (0.7, 0.5))
    draw_now(deployment)
    assert Draw.objects.get(request_id=sure.id).reasons == [Reason.UNIFORM]
    assert Draw.objects.get(request_id=unsure.id).reasons == [Reason.LOW_CONFIDENCE, Reason.UNIFORM]


def test_reasons_are_found_in_the_log(deployment: Deployment) -> None:
    plan(deployment, share=1.0)
    logs: list[tuple[dict[str, Any], list[str]]] = [
        ({"status": 502, "code": "invalid_output", "valid": False}, [Reason.FAILURE]),
        ({"status": 503, "code": "no_replica", "output": ""}, []),
        ({"confidence": {"total": [0.2, 0.9]}}, [Reason.LOW_CONFIDENCE, Reason.UNIFORM]),
        ({"source": "fallback", "automatic": True}, [Reason.FALLBACK, Reason.UNIFORM]),
        ({"needs_review": True}, [Reason.REVIEW, Reason.UNIFORM]),
        ({"lowest": 0.2}, [Reason.LOW_CONFIDENCE, Reason.UNIFORM]),
        ({"automatic": True}, [Reason.UNIFORM]),
    ]
    rows = [
        (logged(deployment, days=HOUR, text=f"{number} {'another text ' * number}", **changes), reasons)
        for number, (changes, reasons) in enumerate(logs)
    ]
    assert draw_now(deployment) == len(rows) - 1
    reasons_of = {draw.request_id: draw.reasons for draw in Draw.objects.all()}
    assert [reasons_of.get(row.id, []) for row, _ in rows] == [reasons for _, reasons in rows]
    # Automatic answers of the sample count for the error budget.
    assert [draw.request_id for draw in Draw.objects.filter(is_audited=True)] == [rows[-1][0].id]


def test_an_output_that_shadow_disagrees_with_is_drawn(deployment: Deployment) -> None:
    plan(deployment, share=0.0)
    same, other = logged(deployment, 37, days=HOUR), logged(deployment, 38, days=HOUR)
    # 12.50 for 12.5 and another order of fields is no disagreement.
    logged(deployment, 37, days=HOUR, shadow_of=same.id, output=dumps(dict(reversed(gold_of(37).items()))))
    logged(deployment, 38, days=HOUR, shadow_of=other.id, output=dumps(gold_of(38) | {"vendor": "Other"}))
    assert draw_now(deployment) == 1
    assert Draw.objects.get().request_id == other.id
    assert ReviewItem.objects.get().reason == Reason.SHADOW
    assert SampleDay.objects.get().requests == 2


def test_negative_feedback_is_always_drawn_also_days_later(world: World, deployment: Deployment) -> None:
    plan(deployment, share=0.0, drawn_until=timezone.now() - timedelta(hours=1))
    old, right = logged(deployment, 37, days=3), logged(deployment, 38, days=3)
    for row, is_right in ((old, False), (right, True)):
        judgment = judgments.judge(project=world.project, request=row, right=is_right)
        Judgment.objects.filter(pk=judgment.pk).update(updated_at=timezone.now() - timedelta(minutes=10))
    assert draw_now(deployment) == 1
    drawn = Draw.objects.get()
    assert (drawn.request_id, drawn.reasons, drawn.uniform_probability) == (old.id, [Reason.FEEDBACK], None)


def test_feedback_on_a_drawn_request_adds_its_reason_and_opens_it_again(world: World, deployment: Deployment) -> None:
    plan(deployment, share=1.0)
    row = logged(deployment, days=HOUR)
    draw_now(deployment)
    ReviewItem.objects.update(status=ReviewItem.Status.DISMISSED)
    judgment = judgments.judge(project=world.project, request=row, right=False)
    SamplePlan.objects.update(drawn_until=timezone.now() - timedelta(hours=1))
    Judgment.objects.filter(pk=judgment.pk).update(updated_at=timezone.now() - timedelta(minutes=10))
    RequestLog.objects.filter(id=row.id).update(created_at=timezone.now() - timedelta(hours=2))
    assert draw_now(deployment) == 0
    item = ReviewItem.objects.get()
    assert (item.status, item.reason, item.severity) == (ReviewItem.Status.OPEN, Reason.FEEDBACK, 1.0)
    drawn = Draw.objects.get()
    assert (drawn.reasons, drawn.uniform_probability) == ([Reason.FEEDBACK, Reason.UNIFORM], 1.0)


def test_near_duplicates_are_grouped_and_the_uniform_sample_is_not(deployment: Deployment) -> None:
    plan(deployment, share=0.0)
    text = logged(deployment, days=3).text
    for ending in ("", " 1", " 2"):
        logged(deployment, days=HOUR, text=text + ending, status=502, code="invalid_output")
    logged(deployment, 36, days=HOUR, status=502, code="invalid_output")
    assert draw_now(deployment) == 4
    listed = ReviewItem.objects.open(deployment.project)
    assert sorted(item.members_count for item in listed) == [0, 2]
    plan(deployment, share=1.0)
    SamplePlan.objects.update(drawn_until=timezone.now() - timedelta(hours=1))
    logged(deployment, days=HOUR / 2, text=text + " 3")
    assert draw_now(deployment) == 1
    assert listed.all().count() == 3


def test_without_stored_texts_requests_are_counted_and_not_drawn(world: World) -> None:
    deployment = deployed(world, retention_days=0)
    logged(deployment, days=HOUR, text="", output="", confidence={})
    assert draw_now(deployment) == 0
    assert not Draw.objects.exists()
    assert SampleDay.objects.get().answered == 1


def test_drawing_takes_a_fixed_number_of_queries_for_what_is_not_drawn(
    deployment: Deployment, django_assert_max_num_queries: Any
) -> None:
    plan(deployment, share=0.0, drawn_until=timezone.now() - timedelta(hours=2))
    for _ in range(30):
        logged(deployment, days=HOUR)
    with django_assert_max_num_queries(45):  # two windows of an hour and the last minutes
        draw_now(deployment)
    assert SampleDay.objects.get().requests == 30


def test_a_failure_of_one_project_does_not_stop_the_others(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_project(owner=world.owner, name="Other", slug="other", template="invoice")
    Deployment.objects.create(project=other)

    def draw_or_fail(pk: int, now: Any) -> int:
        if pk == deployment.pk:
            raise ValueError("broken")
        return 3

    monkeypatch.setattr(sampling, "draw", draw_or_fail)
    assert sampling.draw_all() == 3

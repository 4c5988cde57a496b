"""The pages of the review queue and of live accuracy."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling.models import Document
from labeling.projects.services import create_project
from serving.models import Deployment, Judgment, RequestLog, SamplePlan
from serving.models.review import Draw, Reason, ReviewItem
from serving.review import queue
from serving.review.sampling import draw
from slmstudio.contract.json_text import dumps
from tests.evaluation.factories import World
from tests.serving.review.rows import logged

HOUR = 1 / 24
QUEUE = "/p/invoices/deploy/review/"
DECIDE = f"{QUEUE}decide/"
FIND = "/p/invoices/deploy/requests/"
Status = ReviewItem.Status


def client(user: Any) -> Client:
    signed_in = Client()
    signed_in.force_login(user)
    return signed_in


def fill(deployment: Deployment, number: int, **changes: Any) -> list[ReviewItem]:
    """So many requests in the queue, each with a text of its own."""
    before = ReviewItem.objects.count()
    for at in range(number):
        logged(deployment, days=HOUR, text=f"Invoice number {before + at}. Total 12.50", **changes)
    rates = {"share": 1.0, "drawn_until": timezone.now() - timedelta(hours=2)}
    SamplePlan.objects.update_or_create(deployment=deployment, defaults=rates)
    draw(deployment.pk, timezone.now())
    return list(ReviewItem.objects.order_by("pk"))


def test_failed_requests_in_the_queue_are_the_next_step_of_who_may_review(world: World, deployment: Deployment) -> None:
    fill(deployment, 1)
    engineer = client(world.engineer)
    assert engineer.get("/p/invoices/").context["steps"][0].url != QUEUE
    fill(deployment, 1, status=502, code="invalid_output", valid=False)
    assert engineer.get("/p/invoices/").context["steps"][0].url == QUEUE
    assert client(world.annotator).get("/p/invoices/").context["steps"] == []


def test_the_queue_shows_texts_with_outputs_and_confidence(world: World, deployment: Deployment) -> None:
    logged(deployment, days=HOUR, confidence={"vendor": [0.5, 0.6]})
    plan = SamplePlan.objects.create(deployment=deployment, share=1.0, redact=["phone"])
    draw(deployment.pk, timezone.now())
    engineer = client(world.engineer)
    [row] = engineer.get(QUEUE).context["page"].rows
    assert [reason for reason, _ in row.reasons] == [Reason.LOW_CONFIDENCE, Reason.UNIFORM]
    values = {value.path: value for value in row.shown.values}
    assert (values["vendor"].confidence, values["vendor"].is_found) == (0.5, True)
    marked = {path: text for text, path in row.shown.pieces if path}
    assert marked["vendor"] == values["vendor"].value
    plan.redact = ["email"]
    plan.save()
    RequestLog.objects.update(text="Ask ana@mail.example", output='{"vendor":"ana@mail.example"}')
    page = engineer.get(QUEUE).content.decode()
    assert "mail.example" not in page
    assert page.count("[email]") >= 2
    RequestLog.objects.update(text="", output="")  # erased
    [row] = engineer.get(QUEUE).context["page"].rows
    assert row.shown is None


def test_a_request_is_found_by_its_id_with_its_text_for_reviewers(world: World, deployment: Deployment) -> None:
    output = {"vendor": "Wool & Sons"}
    request = logged(deployment, text="Ask ana@mail.example for 12.50", output=dumps(output), total_ms=1_234)
    SamplePlan.objects.create(deployment=deployment, redact=["email"])
    shadow = logged(deployment, shadow_of=request.id)
    create_project(owner=world.engineer, name="Other", slug="other", template="invoice", members={})
    engineer = client(world.engineer)
    assert f"{FIND}?id={request.id}" in engineer.get("/p/invoices/deploy/").content.decode()
    for written in (f"{request.id}", f" chatcmpl-{request.id} "):
        page = engineer.get(FIND, {"id": written}).content.decode()
        assert all(text in page for text in ("Wool &amp; Sons", "Ask [email] for", "1.23 s", "Version 1"))
    page = client(world.annotator).get(FIND, {"id": f"{request.id}"}).content.decode()
    assert "1.23 s" in page
    assert "12.50" not in page
    assert "Wool" not in page
    mine = logged(deployment, text="Mine", output=dumps(output), protocol="extract", caller=world.manager.username)
    spoofed = logged(deployment, text="Mine", protocol="extract", caller=world.manager.username, token_id=1)
    for user, found, is_visible in (
        (world.manager, mine, True), (world.annotator, mine, False), (world.manager, spoofed, False)
    ):  # fmt: skip
        shown = client(user).get(FIND, {"id": f"{found.id}"})
        assert (shown.context["is_visible"], "Mine" in shown.text) == (is_visible, is_visible)
    for address, wanted in ((FIND, "x"), (FIND, shadow.id), ("/p/other/deploy/requests/", request.id)):
        answer = engineer.get(address, {"id": f"{wanted}"})
        assert (answer.status_code, answer.context["shown"]) == (404, None)


def test_the_queue_is_paged_by_severity_and_by_age(world: World, deployment: Deployment) -> None:
    fill(deployment, 25, confidence={"total": [0.9, 0.9]})
    failed = fill(deployment, 1, status=502, code="invalid_output")[-1]
    engineer = client(world.engineer)
    page = engineer.get(QUEUE)
    assert page.context["page"].rows[0].item.pk == failed.pk
    assert page.context["total"] == 26
    assert len(page.context["page"].rows) == queue.SIZE
    rest = engineer.get(QUEUE, {"after": page.context["page"].after}).context["page"]
    shown = [row.item.pk for row in (*page.context["page"].rows, *rest.rows)]
    assert (len(shown), len(set(shown)), rest.after) == (26, 26, "")
    newest = engineer.get(QUEUE, {"order": "newest"}).context["page"]
    assert [row.item.pk for row in newest.rows] == sorted((row.item.pk for row in newest.rows), reverse=True)
    only = engineer.get(QUEUE, {"reason": "failure"})
    assert [row.item.pk for row in only.context["page"].rows] == [failed.pk]
    for address in ("after=x:1", "after=nan:1", "after=1e9:1", "after=:", "reason=none", "order=none"):
        assert engineer.get(f"{QUEUE}?{address}").status_code == 200


def test_the_queue_takes_a_fixed_number_of_queries(world: World, deployment: Deployment) -> None:
    engineer = client(world.engineer)

    def number() -> int:
        with CaptureQueriesContext(connection) as made:
            assert engineer.get(QUEUE).status_code == 200
        return len(made)

    fill(deployment, 2)
    few = number()
    fill(deployment, 30)
    assert number() == few
    assert few <= 16


@pytest.mark.parametrize(("action", "status", "judged"), [
    ("right", Status.RIGHT, [True, True]), ("dismiss", Status.DISMISSED, []), ("label", Status.SENT, []),
    ("wrong", Status.SENT, [False, False]),
])  # fmt: skip
def test_selected_requests_are_decided_together(
    world: World, deployment: Deployment, action: str, status: str, judged: list[bool]
) -> None:
    items = fill(deployment, 3)
    answer = client(world.engineer).post(DECIDE, {"action": action, "items": [items[0].pk, items[2].pk], "tag": ""})
    assert (answer.status_code, answer["Location"]) == (302, f"{QUEUE}?")
    assert [item.status for item in ReviewItem.objects.order_by("pk")] == [status, Status.OPEN, status]
    assert [judgment.right for judgment in Judgment.objects.all()] == judged
    assert Document.objects.filter(source="requests").count() == (2 if status == Status.SENT else 0)


def test_all_of_a_reason_are_decided_at_once(world: World, deployment: Deployment) -> None:
    fill(deployment, 3)
    fill(deployment, 22, status=502, code="invalid_output")
    answer = client(world.engineer).post(DECIDE, {"action": "dismiss", "everything": "on", "reason": "failure"})
    assert answer["Location"].endswith("?reason=failure")
    assert queue.counts(world.project) == {"": 3, "uniform": 3}


def test_an_invalid_decision_changes_nothing(world: World, deployment: Deployment) -> None:
    [item] = fill(deployment, 1)
    engineer = client(world.engineer)
    for values in (
        {"action": "right"}, {"action": "none", "items": item.pk}, {"action": "right", "items": "x"},
        {"action": "label", "items": item.pk, "tag": "none"}, {"action": "right", "items": 2**70},
    ):  # fmt: skip
        assert engineer.post(DECIDE, values).status_code == 302
    # One of another project is not decided either.
    create_project(owner=world.stranger, name="Other", slug="other", template="invoice", members={})
    values = {"action": "dismiss", "items": item.pk}
    assert client(world.stranger).post("/p/other/deploy/review/decide/", values).status_code == 302
    assert ReviewItem.objects.get().status == Status.OPEN


def judge(deployment: Deployment, number: int, right: int) -> None:
    """So many answered requests in the uniform sample, of which some are right; all are judged."""
    for at in range(number):
        row = logged(deployment, days=HOUR)
        Draw.objects.create(
            project=deployment.project, request_id=row.id, day=row.day, created_at=row.created_at,
            release_id=int(deployment.stable_id or 0), reasons=["uniform"], uniform_probability=0.5,
        )  # fmt: skip
        Judgment.objects.create(
            project=deployment.project, request_id=row.id, day=row.day, requested_at=row.created_at,
            release=deployment.stable, source=Judgment.Source.REVIEWER, right=at < right,
            correct_fields=10 - (at >= right), counted_fields=10,
        )  # fmt: skip


def test_live_accuracy_has_an_interval(world: World, deployment: Deployment) -> None:
    judge(deployment, 40, 36)
    Judgment.objects.create(  # callers choose what they judge
        project=world.project, request_id=Draw.objects.all()[0].request_id, day=timezone.now().date(),
        requested_at=timezone.now(), source=Judgment.Source.CALLER, right=False,
    )  # fmt: skip
    annotator = client(world.annotator)
    page = annotator.get(QUEUE).content.decode()
    assert "Reviewers, engineers and owners see the sampled requests and judge them." in page
    assert re.search(r'data-go="y"[^>]*aria-current="page"', page), "the menu shows where the page belongs"
    [(_, live)] = annotator.get(QUEUE).context["versions"]
    assert (live.drawn, live.judged) == (40, 40)
    assert live.exact.value == pytest.approx(0.9)
    assert live.exact.low < 0.8 < live.exact.high
    assert live.fields.value == pytest.approx(0.99)
    Draw.objects.all().delete()
    Judgment.objects.all().delete()
    judge(deployment, 1, 1)
    row = Judgment.objects.get()
    Judgment.objects.create(  # a gold label counts before a reviewer
        project=world.project, request_id=row.request_id, day=row.day, requested_at=row.requested_at,
        source=Judgment.Source.GOLD, right=False,
    )  # fmt: skip
    [(_, live)] = annotator.get(QUEUE).context["versions"]
    assert live.exact.value == 0.0

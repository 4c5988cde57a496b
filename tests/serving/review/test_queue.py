"""Decisions of reviewers, the documents that come of them, and the judgments by their labels."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from labeling.annotation import services as annotation
from labeling.models import Document, Gold, Prediction
from labeling.models.documents import Selection
from serving.models import Deployment, Judgment, RequestLog, SamplePlan
from serving.models.review import ReviewItem
from serving.review import queue
from serving.review.judgments import judge_by_gold
from serving.review.queue import judged_requests
from serving.review.sampling import draw
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from tests.evaluation.factories import World
from tests.evaluation.factories import drawn as samples
from tests.serving.review.rows import gold_of, logged

HOUR = 1 / 24
Status = ReviewItem.Status


def drawn(deployment: Deployment, *, uniform: bool, **changes: Any) -> ReviewItem:
    """A request in the queue for a text that is no document yet: by the uniform sample, or for a failure."""
    SamplePlan.objects.update_or_create(deployment=deployment, defaults={"share": float(uniform)})
    if not uniform:
        changes = {"status": 502, "code": "invalid_output", "valid": False, **changes}
    row = logged(deployment, days=HOUR, **changes)
    SamplePlan.objects.update(drawn_until=timezone.now() - timedelta(hours=2))
    draw(deployment.pk, timezone.now())
    return ReviewItem.objects.get(draws__request_id=row.id)


def other_text(number: int = 39) -> str:
    """The text of an invoice that the project has, as another document."""
    return f"Copy. {samples(40)[number].text}"


def test_right_judges_all_requests_with_that_output(world: World, deployment: Deployment) -> None:
    other = dumps(gold_of(39) | {"vendor": "Other"})
    item = drawn(deployment, uniform=True)
    drawn(deployment, uniform=True)
    item = drawn(deployment, uniform=True, output=other)
    assert item.draws_count == 3
    done = queue.mark_right(project=world.project, user=world.engineer, items=[item.pk])
    assert (done.items, done.gone) == (1, 0)
    item.refresh_from_db()
    assert item.status == Status.OPEN  # the other output
    [judged] = Judgment.objects.all()
    assert judged.request_id != item.request_id
    assert (judged.right, judged.source, judged.user) == (True, Judgment.Source.REVIEWER, world.engineer)
    queue.mark_right(project=world.project, user=world.engineer, items=[item.pk])
    item.refresh_from_db()
    assert (item.status, item.decided_by) == (Status.RIGHT, world.engineer)
    assert Judgment.objects.count() == 3


def test_dismissing_judges_nothing_and_takes_near_duplicates_along(world: World, deployment: Deployment) -> None:
    item = drawn(deployment, uniform=False, text=other_text())
    drawn(deployment, uniform=False, text=other_text() + " 2")
    assert ReviewItem.objects.open(world.project).count() == 1
    with pytest.raises(Refused) as caught:  # a failed request cannot be right
        queue.mark_right(project=world.project, user=world.engineer, items=[item.pk])
    assert caught.value.code == "no_output"
    assert queue.dismiss(project=world.project, user=world.engineer, items=[item.pk]).items == 1
    assert set(ReviewItem.objects.values_list("status", flat=True)) == {Status.DISMISSED}
    assert not Judgment.objects.exists()
    assert queue.dismiss(project=world.project, user=world.engineer, items=[item.pk]).items == 0


def test_a_targeted_request_becomes_a_document_with_its_output_as_pre_label(
    world: World, deployment: Deployment
) -> None:
    low = {"status": 200, "code": "", "confidence": {"total": [0.1, 0.2]}}
    item = drawn(deployment, uniform=False, text=other_text(), **low)
    done = queue.send(project=world.project, user=world.engineer, items=[item.pk], wrong=True, tag="ambiguous")
    assert done == queue.Decided(1)
    document = Document.objects.get(source="requests")
    assert (document.selection, document.tags, document.holdout) == (Selection.TARGETED, ["ambiguous"], False)
    assert document.text == other_text()
    prediction = Prediction.objects.get(document=document)
    assert prediction.value == gold_of(39)
    assert prediction.model == f"invoices@{deployment.stable.number}"  # type: ignore[union-attr]
    assert not Gold.objects.filter(document=document).exists()
    assert [judgment.right for judgment in Judgment.objects.all()] == [False]
    item.refresh_from_db()
    assert (item.status, item.document) == (Status.SENT, document)


def test_a_document_of_the_uniform_sample_gets_no_pre_label(world: World, deployment: Deployment) -> None:
    item = drawn(deployment, uniform=True, text=other_text())
    queue.send(project=world.project, user=world.engineer, items=[item.pk], wrong=False)
    document = Document.objects.get(source="requests")
    assert (document.selection, document.tags) == (Selection.UNIFORM, [])
    assert not Prediction.objects.filter(document=document).exists()
    assert not Judgment.objects.exists()
    # Without its text a request leaves the queue.
    item = drawn(deployment, uniform=True, text="Another text.")
    RequestLog.objects.update(text="", output="")
    done = queue.send(project=world.project, user=world.engineer, items=[item.pk], wrong=False)
    assert done == queue.Decided(0, gone=1)
    assert not ReviewItem.objects.filter(pk=item.pk).exists()


def test_its_gold_label_judges_the_requests(world: World, deployment: Deployment) -> None:
    item = drawn(deployment, uniform=True, text=other_text())
    failed = drawn(deployment, uniform=False, text=other_text())
    assert failed.pk == item.pk
    queue.send(project=world.project, user=world.engineer, items=[item.pk], wrong=False)
    document = Document.objects.get(source="requests")
    assert judge_by_gold(world.project) == 0
    corrected = gold_of(39) | {"vendor": None}
    annotation.submit(document=document, user=world.annotator, value=corrected, evidence={}, base_version=0)
    assert judge_by_gold(world.project) == 2
    assert judge_by_gold(world.project) == 0
    judgments = {judgment.request_id: judgment for judgment in Judgment.objects.all()}
    right = judgments[RequestLog.objects.get(id__in=judgments, status=200).id]
    assert (right.source, right.user, right.right) == (Judgment.Source.GOLD, world.annotator, False)
    assert [path for path, is_right in right.fields.items() if not is_right] == ["vendor"]
    assert judgments[RequestLog.objects.get(id__in=judgments, status=502).id].correct_fields == 0
    # A corrected label judges again.
    annotation.submit(document=document, user=world.annotator, value=gold_of(39), evidence={}, base_version=1)
    assert judge_by_gold(world.project) == 2
    right.refresh_from_db()
    assert right.right


def test_a_text_that_the_project_has_becomes_no_second_document(world: World, deployment: Deployment) -> None:
    known = Document.objects.filter(project=world.project, holdout=False).order_by("pk").first()
    assert known is not None
    gold = Gold.objects.current(world.project).get(document=known).revision.value
    item = drawn(deployment, uniform=True, text=known.text, output=dumps(gold))
    queue.send(project=world.project, user=world.engineer, items=[item.pk], wrong=False)
    assert not Document.objects.filter(source="requests").exists()
    known.refresh_from_db()
    assert known.selection == ""
    assert judge_by_gold(world.project) == 1
    assert Judgment.objects.get().right


def test_documents_are_redacted_and_still_judged(world: World, deployment: Deployment) -> None:
    text = "From: ana@mail.example. " + other_text()
    item = drawn(deployment, uniform=True, text=text, output=dumps(gold_of(39) | {"vendor": "ana@mail.example"}))
    SamplePlan.objects.update(redact=["email"])
    queue.send(project=world.project, user=world.engineer, items=[item.pk], wrong=False)
    document = Document.objects.get(source="requests")
    assert document.text.startswith("From: [email]. Copy.")
    value = gold_of(39) | {"vendor": "[email]"}
    annotation.submit(document=document, user=world.annotator, value=value, evidence={}, base_version=0)
    judge_by_gold(world.project)
    assert Judgment.objects.get().right


def test_the_page_of_a_document_shows_its_requests(world: World, deployment: Deployment) -> None:
    item = drawn(deployment, uniform=False, text=other_text())
    queue.send(project=world.project, user=world.engineer, items=[item.pk], wrong=True)
    document = Document.objects.get(source="requests")
    [(draw, reasons, judgments)] = judged_requests(document)
    assert (draw.request_id, reasons) == (item.request_id, ["Invalid output"])
    assert [judgment.right for judgment in judgments] == [False]
    client = Client()
    client.force_login(world.annotator)
    page = client.get(document.get_absolute_url())
    assert page.status_code == 200
    assert "serving/review/document_panel.html" in [template.name for template in page.templates]
    assert judged_requests(Document.objects.exclude(pk=document.pk)[0]) == []


def test_near_duplicates_of_a_right_output_are_reviewed_by_themselves(world: World, deployment: Deployment) -> None:
    low = {"status": 200, "code": "", "valid": True, "confidence": {"total_amount": [0.1, 0.2]}}
    items = [drawn(deployment, uniform=False, text=other_text() + ending, **low) for ending in ("", " 2", " 3")]
    assert [item.leader_id for item in items] == [None, items[0].pk, items[0].pk]
    queue.mark_right(project=world.project, user=world.engineer, items=[items[0].pk])
    [listed] = ReviewItem.objects.open(world.project)
    assert (listed.pk, listed.members_count) == (items[1].pk, 1)
    assert Judgment.objects.count() == 1

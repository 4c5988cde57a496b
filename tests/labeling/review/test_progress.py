"""The progress page: per day, per person, times, reviews, and what it says before there is anything."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling.annotation import services as annotation_services
from labeling.models import Annotation, Document, Prediction, Review
from labeling.review import progress
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


def label(desk: Desk, number: int, role: str, seconds: float, days_ago: int = 0, **more: Any) -> Document:
    """A label of a person, so many days ago."""
    document = Document.objects.get(external_id=f"inv-{number:04}")
    annotation_services.submit(
        document=document,
        user=desk.people[role],
        value=invoice(number)["gold"],
        evidence={},
        base_version=0,
        seconds=seconds,
        **more,
    )
    moment = timezone.now() - timedelta(days=days_ago)
    Annotation.objects.filter(document=document).update(submitted_at=moment)
    return document


@shared_fixture
def at_work(desk: Desk) -> Desk:
    bring_in(desk.project, [invoice(number, gold=False) for number in range(8)])
    label(desk, 0, "annotator", 10, field_seconds={"vendor": 4, "date": 2})
    label(desk, 1, "annotator", 30, 2, field_seconds={"vendor": 8})
    label(desk, 2, "annotator", 20, 2)
    label(desk, 3, "reviewer", 50, 1)
    label(desk, 4, "reviewer", 99, 40)
    return desk


def test_per_day(at_work: Desk) -> None:
    rows = progress.days(at_work.project, progress.since(7))
    assert [row[1:] for row in rows] == [(0, 0)] * 4 + [(2, 1), (1, 1), (1, 1)]
    answer = at_work.as_("manager").get(at_work.url("progress/days.json?days=90")).json()
    assert len(answer["days"]) == len(answer["labels"]) == 90
    assert sum(answer["labels"]) == 5
    assert all(after - before == 86_400 for before, after in zip(answer["days"], answer["days"][1:], strict=False))


def test_days_are_in_the_viewers_time_zone(at_work: Desk) -> None:
    moment = timezone.now() - timedelta(days=4)
    tokyo_midnight = moment.astimezone(ZoneInfo("Asia/Tokyo")).replace(hour=0, minute=1)
    Annotation.objects.filter(document__external_id="inv-0000").update(submitted_at=tokyo_midnight)
    Annotation.objects.exclude(document__external_id="inv-0000").update(submitted_at=None)
    client = at_work.as_("manager")
    for name in ("Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati"):
        client.cookies["zone"] = name
        answer = client.get(at_work.url("progress/days.json")).json()
        labelled = [day for day, labels in zip(answer["days"], answer["labels"], strict=True) if labels]
        here = tokyo_midnight.astimezone(ZoneInfo(name)).date()
        assert [datetime.fromtimestamp(day, UTC).date() for day in labelled] == [here]


def test_per_annotator_and_per_field(at_work: Desk) -> None:
    people = progress.people(at_work.project, progress.since(30))
    assert [(person["name"], person["labels"], person["seconds"]) for person in people] == [
        ("desk-annotator", 3, 20),
        ("desk-reviewer", 1, 50),
    ]
    other = make_desk("other").project
    assert progress.people(other, progress.since(30)) == []
    assert not progress.labels_ever(other)
    # Idle time and invalid times are left out.
    Annotation.objects.filter(document__external_id="inv-0003").update(seconds=90_000)
    times = progress.times(at_work.project, progress.since(30))
    assert (times["labels"], times["median"]) == (3, 20)

    def field_times() -> list[tuple[Any, ...]]:
        compiled = at_work.project.schema_version.compiled
        rows = progress.field_times(at_work.project, compiled, progress.since(30))
        return [(row["title"], row["median"], row["labels"]) for row in rows]

    assert field_times() == [("Vendor", 6, 2), ("Invoice date", 2, 1)]
    Annotation.objects.update(field_seconds={"vendor": "lots", "no_such_field": 3, "date": [1], "total_amount": -4})
    assert field_times() == []


def test_review_times(at_work: Desk) -> None:
    for number, decision, hours in ((0, "approve", 1), (1, "reject", 3), (2, "fix", 9)):
        annotation = Annotation.objects.get(document__external_id=f"inv-{number:04}")
        revision = annotation.revisions.latest("pk")
        Review.objects.create(
            document=annotation.document,
            annotation=annotation,
            revision=revision,
            decision=decision,
            reviewer=at_work.people["reviewer"],
            created_at=revision.created_at + timedelta(hours=hours),
        )
    reviews = progress.reviews(at_work.project, progress.since(30))
    assert (reviews["decisions"], reviews["median"], reviews["rejected"]) == (2, 2 * 3600, 1)


def test_page_query_count(at_work: Desk) -> None:
    client = at_work.as_("manager")
    client.get(at_work.url("progress/"))
    with CaptureQueriesContext(connection) as captured:
        page = client.get(at_work.url("progress/?days=30")).content.decode()
    assert len(captured) <= 14, [query["sql"] for query in captured]
    for text in ("desk-annotator", "4 in 30 days", "Time per field", "submitted"):
        assert text in page
    assert "4 in 7 days" in client.get(at_work.url("progress/?days=7")).content.decode()
    for hostile in ("days=x", "days=-1", "days=99999999999", "days=%00", "days=7&days=x"):
        assert client.get(at_work.url(f"progress/?{hostile}")).status_code == 200
        assert client.get(at_work.url(f"progress/days.json?{hostile}")).status_code == 200


def test_work_left_is_estimated_from_the_time_of_labeling(at_work: Desk) -> None:
    client = at_work.as_("manager")
    assert client.get(at_work.url("progress/")).context["work_left"] is None  # from four labels, nothing
    bring_in(at_work.project, [invoice(number, gold=False) for number in range(100, 100 + progress.MIN_TIMED)])
    for number in range(100, 100 + progress.MIN_TIMED):
        label(at_work, number, "annotator", 110 / 4)  # the mean of the others
    assert client.get(at_work.url("progress/")).context["work_left"] == pytest.approx(3 * 110 / 4)


def test_quality_shows_automation_bias(at_work: Desk) -> None:
    client = at_work.as_("reviewer")
    page = client.get(at_work.url("progress/quality/")).content.decode()
    assert "<section" not in page  # neither pre-labels nor an overlap
    version = at_work.project.schema_version
    for number, withheld in ((0, False), (1, True), (2, False)):
        document = Document.objects.get(external_id=f"inv-{number:04}")
        prediction = Prediction.objects.create(
            document=document, schema_version=version, value={}, model="m", source="prelabel-1", withheld=withheld
        )
        Annotation.objects.filter(document=document).update(
            prediction=None if withheld else prediction, changed_fields=2 if withheld else 1, predicted_fields=4
        )
    page = client.get(at_work.url("progress/quality/")).content.decode()
    assert "Accepted without review" in page
    assert "50%" in page


def test_agreement_on_overlap(at_work: Desk) -> None:
    Document.objects.filter(external_id="inv-0005").update(overlap=2)
    document = Document.objects.get(external_id="inv-0005")
    for role in ("annotator", "reviewer"):
        value = invoice(5)["gold"] | ({"vendor": "Other"} if role == "reviewer" else {})
        annotation_services.submit(
            document=document,
            user=at_work.people[role],
            value=value,
            evidence={"vendor": {"confirmed": True, "of": '"Other"'}},
            base_version=0,
        )
    page = at_work.as_("owner").get(at_work.url("progress/quality/")).content.decode()
    assert "Agreement" in page
    assert "Kappa" not in page  # of one document

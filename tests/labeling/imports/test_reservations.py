"""A part of an import with pre-labels is reserved for the hold-out and labeled without them."""

import json
import random
from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.annotation import queue
from labeling.annotation import services as annotation_services
from labeling.annotation.predictions import visible_prediction
from labeling.datasets.freeze import freeze
from labeling.datasets.freeze_candidates import preview
from labeling.imports import reservations
from labeling.imports.services import start_import
from labeling.jobs import run_import
from labeling.models import Document, ImportRun, Prediction
from labeling.models.documents import QUEUE, DocumentState
from tests.labeling.desk import Desk, invoice, make_desk
from tests.labeling.import_pages import PAGE, file, upload_token
from tests.shared_rows import shared_fixture

ROWS = 50


@shared_fixture
def desk(db: None) -> Desk:
    desk = make_desk()
    desk.project.withheld_share = 0.05
    desk.project.review_required = False
    desk.project.save()
    return desk


def chat(count: int = ROWS, start: int = 0, twins: int = 1) -> bytes:
    """Rows of a fine-tuning file, each text ``twins`` times but for its number."""
    rows = []
    for number in range(start, start + count):
        letters = random.Random(number // twins)
        words = " ".join("".join(letters.choices("abcdefghijklmnoprstuvwz", k=7)) for _ in range(30))
        answer = json.dumps(invoice(number)["gold"])
        turns = [
            {"role": "user", "content": f"{words} {invoice(number)['text']}"},
            {"role": "assistant", "content": answer},
        ]
        rows.append(json.dumps({"messages": turns}))
    return "\n".join(rows).encode()


def bring_chat(desk: Desk, content: bytes, **options: str) -> ImportRun:
    run = start_import(
        project=desk.project, user=desk.people["engineer"], file=file("chat.jsonl", content), options=options
    )
    run_import(run.pk)
    run.refresh_from_db()
    return run


def label(desk: Desk, document: Document, user: User) -> None:
    """Submits what the document says."""
    number = Prediction.objects.get(document=document).value["total_amount"]
    gold: Any = invoice(int(number))["gold"]
    document = Document.objects.select_related("project").get(pk=document.pk)
    annotation_services.submit(document=document, user=user, value=gold, evidence={}, base_version=0)


def test_fifty_confirmed_answers_leave_a_holdout_of_fifteen(desk: Desk) -> None:
    run = bring_chat(desk, chat())
    assert (run.imported, reservations.reserved(run), preview(project=desk.project).reserved) == (ROWS, 15, 15)
    user = desk.people["annotator"]
    labeled = blind = 0
    while (document := queue.next_document(project=desk.project, user=user)) is not None:
        blind += visible_prediction(document, desk.project.schema_version) is None
        label(desk, document, user)
        labeled += 1
    assert labeled == ROWS
    assert blind >= 15  # and those that are withheld to measure automation bias
    ahead = preview(project=desk.project)
    assert (ahead.held_out, ahead.reserved, ahead.few_by_people) == (15, 0, 0)
    counts = freeze(project=desk.project, user=desk.people["engineer"]).counts
    assert counts["splits"]["holdout"] == 15
    assert counts["documents"] == ROWS


@pytest.mark.parametrize(
    ("options", "reserved"), [({"reserve": "none"}, 0), ({"reserve": "370"}, 15), ({"answers": "gold"}, 0)]
)
def test_the_share_can_be_switched_off(desk: Desk, options: dict[str, str], reserved: int) -> None:
    assert reservations.reserved(bring_chat(desk, chat(), **options)) == reserved


def test_the_holdout_grows_to_a_limit_and_no_further(desk: Desk) -> None:
    assert reservations.reserved(bring_chat(desk, chat(140))) == 42
    second = bring_chat(desk, chat(120, start=140))
    assert reservations.reservation(desk.project, {}, ROWS).count == 0
    assert Document.objects.filter(project=desk.project, holdout=True).count() == 75
    reservations.reserve(second)  # a job that is delivered again
    assert Document.objects.filter(project=desk.project, holdout=True).count() == 75


def test_the_choice_is_reproducible_and_keeps_near_duplicates_together(desk: Desk) -> None:
    run = bring_chat(desk, chat(twins=5))
    held = Document.objects.filter(project=desk.project, holdout=True)
    groups = [text[:40] for text in held.values_list("text", flat=True)]
    assert len(groups) == 15
    assert len(set(groups)) == 3
    before = set(held.values_list("pk", flat=True))
    held.update(holdout=False)
    reservations.reserve(run)
    assert set(held.values_list("pk", flat=True)) == before


def test_a_document_that_was_opened_is_not_reserved(desk: Desk) -> None:
    run = bring_chat(desk, chat(), reserve="none")
    opened = queue.next_document(project=desk.project, user=desk.people["annotator"])
    assert opened is not None
    run.options = {}
    assert 13 <= reservations.reserve(run) <= 15
    assert not Document.objects.get(pk=opened.pk).holdout


def test_the_pages_show_what_is_reserved(desk: Desk) -> None:
    client = desk.as_("engineer")
    address = client.post(desk.url(PAGE), {"file": file("chat.jsonl", chat())})["Location"]
    assert client.get(address).context["reservation"].count == 15
    assert client.get(f"{address}&reserve=none").context["reservation"].count == 0
    sent = client.post(desk.url(f"{PAGE}exchanges/"), {"u": upload_token(address), "reserve": "75"})
    run = ImportRun.objects.get()
    run_import(run.pk)
    page = client.get(sent["Location"])
    assert page.context["reserved"] == 15
    link = f"documents/?imported={run.pk}&holdout=yes"
    assert client.get(desk.url(link)).context["count"].number == 15
    waiting = Document.objects.filter(project=desk.project, holdout=True, state__in=QUEUE).order_by("pk")
    label(desk, waiting[0], desk.people["annotator"])
    ahead = client.get(desk.url("datasets/")).context["preview"]
    assert (ahead.held_out, ahead.reserved) == (1, 14)
    assert Document.objects.filter(holdout=True, state=DocumentState.NEW).count() == 14

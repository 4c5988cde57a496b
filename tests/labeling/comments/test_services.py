"""Comments, mentions, and what members see of them."""

import pytest

from labeling.comments import services as comment_services
from labeling.integrations import webhooks
from labeling.models import Comment, Document, Mention, WebhookDelivery
from slmstudio.errors import Refused
from tests.labeling.desk import browser
from tests.labeling.label_desk import Desk, make_desk
from tests.labeling.work_desk import fresh, member
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


@shared_fixture
def document(desk: Desk) -> Document:
    return fresh(desk.document())


def test_comment_on_document_or_field(desk: Desk, document: Document) -> None:
    comment_services.add(document=document, user=desk.ana, text=" Two totals. ")
    comment_services.add(document=document, user=desk.ben, text="Which?", path="line_items[3].amount")
    assert [(one.user, one.path, one.text) for one in comment_services.threads(document=document)] == [
        (desk.ana, "", "Two totals."),
        (desk.ben, "line_items[3].amount", "Which?"),
    ]


def test_mentions_are_unique_members(desk: Desk, document: Document) -> None:
    dotted = member(desk, "ana.b")  # ana.b-desk
    text = f"@{desk.ben}, @{desk.ben} and @{dotted}. Not @{desk.ana} (me), @{desk.stranger}, @nobody or x@{desk.owner}"
    comment_services.add(document=document, user=desk.ana, text=text)
    assert set(Mention.objects.values_list("user", flat=True)) == {desk.ben.pk, dotted.pk}
    comment_services.add(document=document, user=desk.ben, text=f"(@{desk.owner}) but not @{desk.owner}s")
    assert comment_services.unread_count(project=desk.project, user=desk.owner) == 1


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (" \n\t", "", "Enter a comment"),
        ("x" * 4001, "", "4,001 characters"),
        ("half \ud83d", "", "lone surrogate"),
        ("text", "a..b[", "Unknown field"),
        ("text", "a" * 301, "Unknown field"),
        ("text", "rows[].amount", "Unknown field"),
        ("text", "a\x00b", "Unknown field"),
    ],
)
def test_invalid_comments_are_refused(desk: Desk, document: Document, text: str, path: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        comment_services.add(document=document, user=desk.ana, text=text, path=path)
    assert not Comment.objects.exists()


def test_nul_bytes_are_dropped_and_html_stays_text(desk: Desk, document: Document) -> None:
    found = comment_services.add(document=document, user=desk.ana, text="<b>a\x00</b> \u202eb")
    assert found.text == "<b>a</b> \u202eb"


def test_first_resolver_is_stored(desk: Desk, document: Document) -> None:
    found = comment_services.add(document=document, user=desk.ana, text=f"@{desk.ben} why?")
    comment_services.add(document=document, user=desk.ana, text="Still open")
    comment_services.resolve(comment=found, user=desk.ben)
    again = comment_services.resolve(comment=found, user=desk.owner)
    assert again.resolved_by == desk.ben
    assert [one.text for one in comment_services.threads(document=document)] == ["Still open", found.text]
    assert comment_services.unread_count(project=desk.project, user=desk.ben) == 0


def test_comment_event_has_no_text(desk: Desk, document: Document) -> None:
    webhooks.create(project=desk.project, user=desk.owner, url="https://93.184.216.34/", events=["comment.added"])
    found = comment_services.add(document=fresh(document), user=desk.ana, text="secret", path="vendor")
    [delivery] = WebhookDelivery.objects.all()
    assert (delivery.payload["comment"], delivery.payload["path"]) == (found.pk, "vendor")
    assert "secret" not in str(delivery.payload)


def test_member_reads_mentions(desk: Desk, document: Document) -> None:
    for text in ("<script>first</script>", "second"):
        comment_services.add(document=document, user=desk.ana, text=f"@{desk.ben} {text}")
    ben, address = browser(desk.ben), f"/p/{desk.project.slug}/mentions/"
    assert comment_services.unread_count(project=desk.project, user=desk.ben) == 2
    page = ben.get(address).content.decode()
    assert page.count("mention-unread") == 2
    assert "&lt;script&gt;first" in page
    assert comment_services.unread_count(project=desk.project, user=desk.ben) == 0
    assert "mention-unread" not in ben.get(address).content.decode()


def test_mentions_of_others_are_hidden(desk: Desk, document: Document) -> None:
    comment_services.add(document=document, user=desk.ana, text=f"@{desk.ben}")
    assert "No mentions" in browser(desk.ana).get(f"/p/{desk.project.slug}/mentions/").content.decode()
    assert Mention.objects.get().read_at is None
    assert browser(desk.stranger).get(f"/p/{desk.project.slug}/mentions/").status_code == 404


def test_mentions_are_paginated(desk: Desk, document: Document) -> None:
    for number in range(35):
        comment_services.add(document=document, user=desk.ana, text=f"@{desk.ben} number {number}.")
    ben, address = browser(desk.ben), f"/p/{desk.project.slug}/mentions/"
    first = ben.get(address).content.decode()
    assert "number 34." in first
    assert "number 4." not in first
    assert comment_services.unread_count(project=desk.project, user=desk.ben) == 5
    last = Mention.objects.order_by("-pk")[29]
    assert f"?before={last.pk}" in first
    assert "number 4." in ben.get(f"{address}?before={last.pk}").content.decode()
    assert ben.get(f"{address}?before=nonsense").status_code == 200

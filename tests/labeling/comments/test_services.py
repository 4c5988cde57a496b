"""Comments, mentions, and what members see of them."""

import pytest

from labeling.comments import services as comment_services
from labeling.integrations import webhooks
from labeling.models import Comment, Document, Mention, WebhookDelivery
from slmstudio.errors import Refused
from tests.labeling.desk import browser
from tests.labeling.label_desk import Desk
from tests.labeling.work_desk import fresh, member
from tests.shared_rows import shared_fixture


@shared_fixture
def document(desk: Desk) -> Document:
    return fresh(desk.document())


def test_comment_on_document_or_field(desk: Desk, document: Document) -> None:
    comment_services.add(document=document, user=desk.ana, text=" Two totals. ")
    comment_services.add(document=document, user=desk.ben, text="Which?", path="line_items[3].amount")
    comment_services.add(document=document, user=desk.ana, text="<b>a\x00</b> \u202eb")
    threads = comment_services.threads(document=document)
    assert [(comment.user, comment.path, comment.text) for comment in threads] == [
        (desk.ana, "", "Two totals."),
        (desk.ben, "line_items[3].amount", "Which?"),
        (desk.ana, "", "<b>a</b> \u202eb"),
    ]


def test_mentions_are_unique_members(desk: Desk, document: Document) -> None:
    dotted = member(desk, "ana.b")  # ana.b-desk
    text = f"@{desk.ben}, @{desk.ben} and @{dotted}. Not @{desk.ana} (me), @{desk.stranger}, @nobody or x@{desk.owner}"
    comment_services.add(document=document, user=desk.ana, text=text)
    assert set(Mention.objects.values_list("user", flat=True)) == {desk.ben.pk, dotted.pk}
    comment_services.add(document=document, user=desk.ben, text=f"(@{desk.owner}) but not @{desk.owner}s")
    assert comment_services.unread_count(project=desk.project, user=desk.owner) == 1


def test_invalid_comments_are_refused(desk: Desk, document: Document) -> None:
    for text, path, words in (
        (" \n\t", "", "Enter a comment"),
        ("x" * 4001, "", "4,001 characters"),
        ("half \ud83d", "", "lone surrogate"),
        ("text", "a..b[", "Unknown field"),
        ("text", "a" * 301, "Unknown field"),
        ("text", "rows[].amount", "Unknown field"),
        ("text", "a\x00b", "Unknown field"),
    ):
        with pytest.raises(Refused, match=words):
            comment_services.add(document=document, user=desk.ana, text=text, path=path)
    assert not Comment.objects.exists()


def test_first_resolver_is_stored(desk: Desk, document: Document) -> None:
    comment = comment_services.add(document=document, user=desk.ana, text=f"@{desk.ben} why?")
    comment_services.add(document=document, user=desk.ana, text="Still open")
    comment_services.resolve(comment=comment, user=desk.ben)
    again = comment_services.resolve(comment=comment, user=desk.owner)
    assert again.resolved_by == desk.ben
    assert [other.text for other in comment_services.threads(document=document)] == ["Still open", comment.text]
    assert comment_services.unread_count(project=desk.project, user=desk.ben) == 0


def test_comment_event_has_no_text(desk: Desk, document: Document) -> None:
    webhooks.create(project=desk.project, user=desk.owner, url="https://93.184.216.34/", events=["comment.added"])
    comment = comment_services.add(document=fresh(document), user=desk.ana, text="secret", path="vendor")
    [delivery] = WebhookDelivery.objects.all()
    assert (delivery.payload["comment"], delivery.payload["path"]) == (comment.pk, "vendor")
    assert "secret" not in str(delivery.payload)


def test_member_reads_own_mentions_page_by_page(desk: Desk, document: Document) -> None:
    for number in range(35):
        comment_services.add(document=document, user=desk.ana, text=f"@{desk.ben} <script> number {number}.")
    ben, address = browser(desk.ben), f"/p/{desk.project.slug}/mentions/"
    assert "No mentions" in browser(desk.ana).get(address).content.decode()
    assert comment_services.unread_count(project=desk.project, user=desk.ben) == 35
    page = ben.get(address).content.decode()
    assert page.count("mention-unread") == 30
    assert "&lt;script&gt; number 34." in page
    assert "number 4." not in page
    assert comment_services.unread_count(project=desk.project, user=desk.ben) == 5
    assert "mention-unread" not in ben.get(address).content.decode()
    last = Mention.objects.order_by("-pk")[29]
    assert f"?before={last.pk}" in page
    assert "number 4." in ben.get(f"{address}?before={last.pk}").content.decode()
    assert ben.get(f"{address}?before=nonsense").status_code == 200

"""What annotators cannot see before they label a document: labels of others and withheld predictions."""

import pytest
from django.test import Client

from labeling.annotation import queue
from labeling.documents import bulk_edit
from labeling.models import Document, DocumentState
from labeling.review import services as review_services
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps
from tests.labeling.desk import browser
from tests.labeling.label_desk import Desk, gold, pre_label
from tests.labeling.work_desk import member, review_desk, submit
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    desk = review_desk(review_required=False, withheld_share=0)
    member(desk, "mia", Role.MANAGER)
    return desk


def url(desk: Desk, path: str) -> str:
    return f"/p/{desk.project.slug}/{path}"


def exported(desk: Desk, client: Client, part: str = "labels") -> str:
    answer = client.get(url(desk, f"export/rows/?part={part}"))
    assert answer.status_code == 200
    return b"".join(answer).decode()


def listed(desk: Desk, client: Client) -> str:
    return client.get(url(desk, "documents/?field=vendor&op=is&value=Acme")).content.decode()


PRE_LABEL = dumps({**gold(), "vendor": "ZZZMODEL"})


@pytest.mark.parametrize("name", ["ben", "mia"])
def test_labels_of_others_are_neither_exported_nor_searchable(desk: Desk, name: str) -> None:
    person = getattr(desk, name)
    unseen, plain = desk.document(overlap=2, name="unseen"), desk.document(name="plain")
    submit(unseen, desk.ana, vendor="Acme")
    submit(plain, desk.ana, vendor="Acme")
    client, reviewer = browser(person), browser(desk.rita)
    assert ("unseen" in exported(desk, client), "plain" in exported(desk, client)) == (False, True)
    assert "unseen" in exported(desk, reviewer)
    assert "unseen" in exported(desk, browser(desk.ana))
    assert (">unseen<" in listed(desk, client), ">plain<" in listed(desk, client)) == (False, True)
    assert ">unseen<" in listed(desk, reviewer)
    assert exported(desk, client, "all").count('"vendor":"Acme"') == 1
    submit(unseen, person, vendor="Acme")
    review_services.approve(document=unseen, user=desk.rita, base_version=2)
    assert "unseen" in exported(desk, client)
    assert ">unseen<" in listed(desk, client)


def test_reopened_label_stays_hidden(desk: Desk) -> None:
    document = desk.document(overlap=2, name="again")
    submit(document, desk.ana)
    submit(document, desk.ben)
    assert "again" in exported(desk, browser(desk.ben), "gold")
    bulk_edit.change_one(document=document, user=desk.owner, action="requeue", params={})
    assert "again" not in exported(desk, browser(desk.ben), "gold")
    assert "again" in exported(desk, browser(desk.rita), "gold")


def test_manager_sees_labels_of_others_after_labeling(desk: Desk) -> None:
    document = desk.document(overlap=2)
    submit(document, desk.ana, vendor="Acme")
    page = url(desk, f"documents/{document.pk}/")
    manager = browser(desk.mia)
    assert manager.get(page).context["own_only"]
    submit(document, desk.ben, vendor="Acme")
    assert not manager.get(page).context["own_only"]


def test_unlabeled_holdout_document_has_no_pre_label(desk: Desk) -> None:
    document = desk.document()
    pre_label(document, PRE_LABEL)
    client = browser(desk.ana)
    for state in DocumentState:
        Document.objects.filter(pk=document.pk).update(holdout=True, state=state)
        shown = "ZZZMODEL" in client.get(url(desk, f"documents/{document.pk}/")).content.decode()
        assert shown == (state in (DocumentState.SUBMITTED, DocumentState.APPROVED)), state


def test_withheld_pre_label_is_shown_after_labeling_and_not_after_a_skip(desk: Desk) -> None:
    desk.project.withheld_share = 1
    desk.project.save()
    document = desk.document()
    pre_label(document, PRE_LABEL)
    queue.skip(document=document, user=desk.ana, reason="cannot be read")
    for user in (desk.ana, desk.owner):
        page = browser(user).get(url(desk, f"documents/{document.pk}/")).content.decode()
        assert "Shown when the document is labeled" in page
        assert "ZZZMODEL" not in page
    Document.objects.filter(pk=document.pk).update(state=DocumentState.SUBMITTED)
    assert "ZZZMODEL" in browser(desk.ana).get(url(desk, f"documents/{document.pk}/")).content.decode()

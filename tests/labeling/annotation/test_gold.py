"""What counts as gold: one definition, and every place that reads, counts or exports it agrees."""

import json
from typing import Any

import pytest

from evaluation.approvals import decisions
from labeling.annotation import challenged_labels
from labeling.annotation import services as annotation_services
from labeling.datasets import freeze_candidates, holdout_sampling, panels
from labeling.datasets.export import count_project, export_project
from labeling.datasets.freeze import freeze
from labeling.datasets.queries import rows as frozen_rows
from labeling.documents.details import displayed_label
from labeling.documents.panels import documents_panel
from labeling.imports import services as import_services
from labeling.models import Annotation, Document, DocumentState, Gold, Project
from labeling.projects import members
from labeling.projects.services import schema_impact
from labeling.review import adjudication
from labeling.review import services as review_services
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from tests.labeling.api_client import api_of
from tests.labeling.desk import browser
from tests.labeling.label_desk import TEXT, Desk, change_schema, gold
from tests.labeling.work_desk import change, fresh, review_desk, submit
from tests.shared_rows import shared_fixture

APPROVED = {"approved", "fixed", "adjudicated", "relabelled"}
#: short texts that are not near-duplicates of each other
WORDS = {
    "new": "alpha bravo charlie delta",
    "in-progress": "echo foxtrot golf hotel india",
    "submitted": "juliett kilo lima mike november",
    "approved": "oscar papa quebec romeo sierra",
    "fixed": "tango uniform victor whiskey xray",
    "adjudicated": "yankee zulu one two three four",
    "relabelled": "red orange yellow green blue",
    "rejected": "monday tuesday wednesday thursday",
    "rejected-later": "january february march april may",
    "skipped": "north east south west up down",
    "broken": "iron copper silver gold nickel zinc",
}


@shared_fixture
def desk(db: None) -> Desk:
    """A project with review and a document in each state, one of them with gold that today's schema refuses."""
    desk = review_desk()
    documents = {name: desk.document(f"{words * 5}. {TEXT}", name) for name, words in WORDS.items()}
    Document.objects.filter(pk=documents["adjudicated"].pk).update(overlap=2)
    for name in ("approved", "fixed", "relabelled", "rejected-later"):
        submit(documents[name], desk.ana)
    submit(documents["broken"], desk.ana, vendor="Acme")
    for name in ("approved", "relabelled", "rejected-later", "broken"):
        review_services.approve(document=fresh(documents[name]), user=desk.rita, base_version=1)
    review_services.approve(
        document=fresh(documents["fixed"]), user=desk.rita, base_version=1, value=gold(), evidence={}
    )
    submit(documents["adjudicated"], desk.ana)
    submit(documents["adjudicated"], desk.ben, date=None)
    adjudication.adjudicate(
        document=fresh(documents["adjudicated"]), user=desk.rita, value=gold(), evidence={}, base_version=2
    )
    change_schema(desk.project, desk.owner, vendor={"minLength": 6})

    draft = {"user": desk.ana, "value": {"vendor": "Acme Supplies"}, "evidence": {}, "base_version": 0}
    annotation_services.save_draft(document=fresh(documents["in-progress"]), **draft)
    annotation_services.skip(document=fresh(documents["skipped"]), user=desk.ana, reason="unreadable")
    for name in ("submitted", "rejected", "relabelled", "rejected-later"):
        submit(documents[name], desk.ana)
    for name in ("rejected", "rejected-later"):
        review_services.reject(document=fresh(documents[name]), user=desk.rita, reason="The date is wrong.")
    return desk


def exported(desk: Desk, part: str = "gold") -> set[str]:
    lines = b"".join(export_project(desk.project, "rows", part=part)).decode().splitlines()
    return {row["id"] for row in map(json.loads, lines) if row.get("gold") is not None}


def in_list(project: Project) -> set[str]:
    return set(Gold.objects.current(project).values_list("document__external_id", flat=True))


@pytest.mark.parametrize("review", [True, False])
def test_all_readers_of_gold_agree(desk: Desk, review: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "ENOUGH_LABELS", 1)
    members.change_settings(project=desk.project, by=desk.owner, values={"review_required": review})
    expected = APPROVED if review else APPROVED | {"submitted"}
    states = dict(Document.objects.values_list("external_id", "state"))
    assert set(states.values()) == set(DocumentState.values), states

    assert in_list(desk.project) == expected
    assert exported(desk) == expected
    assert count_project(desk.project)["gold"] == len(expected)

    preview = freeze_candidates.preview(project=desk.project)
    assert preview.documents == len(expected)
    assert (preview.set_aside, preview.invalid) == (3, 1)
    total = preview.documents + preview.set_aside + preview.invalid + preview.without_gold
    assert total == len(states)

    project = project_for(desk.owner, desk.project.slug, Action.READ)
    panel = documents_panel(project, desk.owner)
    assert panel is not None
    assert {cell["title"]: cell["value"] for cell in panel.context["strip"]}["Gold"] == str(len(expected))
    step = panels.freeze_step(project_for(desk.owner, desk.project.slug, Action.READ), desk.owner)
    assert step is not None
    assert step.text.startswith(f"{len(expected)} ")

    api = api_of(desk.project, desk.owner)
    assert api.get("progress").json["gold"] == len(expected)
    keys = dict(Document.objects.values_list("pk", "external_id"))
    assert {name for pk, name in keys.items() if api.get(f"documents/{pk}").json["gold"]} == expected
    lines = api.get("export?shape=rows").raw.decode().splitlines()
    assert {json.loads(line)["id"] for line in lines} == expected

    shown = {pk: displayed_label(project, fresh(Document(pk=pk)), desk.owner, False)["gold"] for pk in keys}
    assert {keys[pk] for pk, label in shown.items() if label is not None} == expected
    page = browser(desk.owner).get(f"/p/{desk.project.slug}/export/")
    assert page.context["counts"]["gold"] == len(expected)
    assert schema_impact(project=desk.project, compiled=desk.project.schema_version.compiled).checked == len(expected)

    disputable = set()
    for pk, name in keys.items():
        try:
            challenged_labels.send_to_adjudication(document=fresh(Document(pk=pk)))
        except Refused:
            continue
        disputable.add(name)
    assert disputable == expected
    Document.objects.filter(disputed=True).update(disputed=False)

    dataset = freeze(project=desk.project, user=desk.owner, holdout_share=0.3)
    assert {row["id"] for row in frozen_rows(dataset)} == expected
    assert dataset.counts["left_out"]["does_not_fit_schema"] == 1
    assert decisions.CurrentState(desk.project).revised_gold(dataset) == []
    project = project_for(desk.owner, desk.project.slug, Action.READ)
    assert panels.freeze_again_step(project, desk.owner) is None


def test_rejected_label_is_not_gold(desk: Desk) -> None:
    dataset = freeze(project=desk.project, user=desk.owner, holdout_share=0.3)
    held = dataset.items.filter(split="holdout").first()
    assert held is not None
    Document.objects.filter(pk=held.document_id).update(state=DocumentState.REJECTED)
    name = held.document.external_id
    assert name not in in_list(desk.project)
    assert name not in exported(desk)
    assert decisions.CurrentState(desk.project).revised_gold(dataset) == [name]


def test_labels_that_are_not_gold_and_documents_without_a_label(desk: Desk) -> None:
    assert exported(desk, "labels") == APPROVED | {"submitted"}
    assert exported(desk, "all") == APPROVED | {"submitted"}
    drawn = set(holdout_sampling.unlabeled_documents(desk.project).values_list("external_id", flat=True))
    assert drawn == set(Document.objects.unlabeled(desk.project).values_list("external_id", flat=True)) == {"new"}


def test_review_setting_decides_about_submitted_labels(desk: Desk) -> None:
    def required(value: bool) -> set[str]:
        members.change_settings(project=desk.project, by=desk.owner, values={"review_required": value})
        return in_list(desk.project)

    assert required(False) == APPROVED | {"submitted"}
    gold_row = Gold.objects.current(desk.project).get(document__external_id="submitted")
    assert (gold_row.origin, gold_row.revision.annotation.user) == ("human", desk.ana)
    assert required(True) == APPROVED
    # Submitted again after a reviewer's word: it waits for one, and the approved label counts until then.
    relabelled = Gold.objects.current(desk.project).get(document__external_id="relabelled")
    assert relabelled.approved_by == desk.rita


def test_turning_review_off_makes_a_correction_gold(desk: Desk) -> None:
    row = {"id": "imported", "text": TEXT, "gold": gold()}
    import_services.insert_rows(project=desk.project, user=desk.owner, rows=[row])
    imported = Document.objects.get(external_id="imported")
    submit(imported, desk.ana, 1, date=None)
    # Approved under this schema, rejected and submitted again: what was approved is replaced too.
    again = Document.objects.get(external_id="submitted")
    review_services.approve(document=fresh(again), user=desk.rita, base_version=1)
    submit(again, desk.ana, 1, date=None)
    review_services.reject(document=fresh(again), user=desk.rita, reason="The date is there.")
    submit(again, desk.ana, 2, date=None)
    members.change_settings(project=desk.project, by=desk.owner, values={"review_required": False})
    for document in (imported, again):
        label = Gold.objects.current(desk.project).get(document=document)
        assert (label.revision.value["date"], label.approved_by) == (None, None)
        assert label.revision.annotation.user == desk.ana


def test_gold_stays_under_a_compatible_schema(desk: Desk) -> None:
    change(desk, review_required=False)
    before = dict(Gold.objects.current(desk.project).values_list("document_id", "revision_id"))
    count = Annotation.objects.count()
    change_schema(desk.project, desk.owner, note={"type": "string"})
    after: dict[Any, Any] = dict(Gold.objects.current(desk.project).values_list("document_id", "revision_id"))
    assert after == {pk: revision for pk, revision in before.items() if pk in after}
    assert APPROVED - {"relabelled"} <= in_list(desk.project)
    assert Annotation.objects.count() == count

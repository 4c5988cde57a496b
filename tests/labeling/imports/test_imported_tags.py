"""Tags that documents are imported with can be used as those of the vocabulary."""

from typing import Any

from labeling.datasets.forms import FreezeForm
from labeling.documents.list.choices import choices
from labeling.documents.list.filters import Filters
from labeling.failure_tags import FAILURE_TAGS, MAX_OWN_TAGS, tags_of
from labeling.jobs import run_bulk_edit
from labeling.models import BulkEdit, Document, Project
from labeling.projects.members import change_settings
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    desk = make_desk()
    bring_in(desk.project, [invoice(1, tags=["en", "ocr_noise"]), invoice(2, tags=["Zwei Spalten"]), invoice(3)])
    desk.project.refresh_from_db()
    return desk


def own(project: Project) -> list[str]:
    return [tag for tag in tags_of(Project.objects.get(pk=project.pk)) if tag not in FAILURE_TAGS]


def test_imported_tags_are_in_every_list(desk: Desk) -> None:
    assert own(desk.project) == ["en", "Zwei Spalten"]
    offered = choices(desk.project, Filters(), desk.project.schema_version.compiled)["tag"]
    assert {"en", "Zwei Spalten"} <= {value for value, _ in offered}
    fields: Any = FreezeForm(project=desk.project).fields
    assert {"en", "Zwei Spalten"} <= {value for value, _ in fields["tags"].choices}


def test_imported_tags_are_changed_in_bulk(desk: Desk) -> None:
    keys = list(Document.objects.values_list("pk", flat=True))
    for action, count in (("tag", 3), ("untag", 0)):
        form = {"action": action, "of": "ticked", "id": keys, "tags": "en", "sure": "on"}
        desk.as_("engineer").post(desk.url("documents/bulk/"), form)
        run_bulk_edit(BulkEdit.objects.latest("pk").pk)
        assert Document.objects.filter(tags__contains=["en"]).count() == count


def test_project_has_a_limited_number_of_tags(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, tags=["of a duplicate"]), {"id": "x", "tags": ["of a reject"]}])
    assert own(desk.project) == ["en", "Zwei Spalten"]
    bring_in(desk.project, [invoice(number, tags=[f"tag {number}", "a, b"]) for number in range(10, 80)])
    assert own(desk.project) == ["en", "Zwei Spalten", *(f"tag {number}" for number in range(10, 8 + MAX_OWN_TAGS))]


def test_settings_keep_imported_tags(desk: Desk) -> None:
    names = [*own(desk.project), "New One"]
    change_settings(project=desk.project, by=desk.people["owner"], values={"extra_tags": names})
    assert own(desk.project) == ["en", "Zwei Spalten", "new_one"]

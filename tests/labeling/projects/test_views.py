"""My projects, a project's home and its contract, by role."""

import re
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from labeling.contract.schema_text import pretty
from labeling.datasets.freeze import freeze
from labeling.models import Membership, Project, SchemaVersion
from labeling.projects import contract_views
from labeling.projects.services import contract_etag
from slmstudio.accounts.global_permissions import GROUP
from slmstudio.contract.schema.compiled import dumps, loads
from slmstudio.contract.sources.detection import draft_schema
from tests.labeling.desk import Desk, bring_in, browser, invoice, make_desk, person


def contract_form(desk: Desk, **changes: object) -> dict[str, object]:
    contract = desk.project.contract
    return {
        "instruction": contract.instruction,
        "schema": pretty(desk.project.schema_version.schema_text),
        "seen": contract_etag(contract),
        **contract.constraints,
        **changes,
    }


# -- projects ----------------------------------------------------------------------------------------------------------


def test_list_shows_own_projects_with_a_constant_number_of_queries(desk: Desk) -> None:
    client = desk.as_("owner")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get("/")
        return len(captured)

    before = queries()
    for number in range(3):
        other = make_desk(f"other-{number}")
        Membership.objects.create(project=other.project, user=desk.people["owner"], role="manager")
    assert queries() == before
    assert before <= 7  # two of them ask for permissions
    page = desk.as_("annotator").get("/").content.decode()
    assert "Desk" in page
    assert "Other" not in page


def creator(name: str = "new") -> Any:
    """A user with the permission to create projects."""
    user = person(name)
    user.groups.add(Group.objects.get(name=GROUP))
    return user


def test_project_creation_needs_permission(desk: Desk) -> None:
    get_user_model().objects.create_superuser("root")
    client = browser(person("new"))
    page = client.get("/?new=1").content.decode()
    assert "New project" not in page
    assert "Start from a template" not in page
    assert "an administrator (root)" in page
    answer = client.post("/", {"name": "Mine", "template": "invoice"})
    assert answer.status_code == 422
    assert "cannot create projects" in answer.content.decode()
    assert Project.objects.count() == 1


def test_project_limit_per_owner(db: None, settings: Any) -> None:
    settings.PROJECTS_PER_PERSON = 2
    client = browser(creator())
    for number in range(2):
        assert client.post("/", {"name": f"P {number}", "template": "invoice"}).status_code == 302
    answer = client.post("/", {"name": "P 3", "template": "invoice"})
    assert answer.status_code == 422
    assert "You own" in answer.content.decode()
    assert Project.objects.count() == 2


def test_creator_becomes_owner(db: None) -> None:
    user = creator()
    answer = browser(user).post("/", {"name": "Müllers Rechnungen", "template": "blank"})
    project = Project.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, "/p/mullers-rechnungen/contract/")
    assert Membership.objects.get(project=project, user=user).role == "owner"
    # It has nothing that its owner did not set.
    assert (project.template, project.contract.constraints) == ("blank", {})
    assert "title" not in project.schema_version.compiled.schema


def test_invalid_project_form(desk: Desk) -> None:
    client = browser(creator())
    for data, message in (
        ({"name": "", "template": "invoice"}, "This field is required"),
        ({"name": "Desk", "template": "invoice"}, "The URL name desk is taken"),
        ({"name": "発票", "template": "invoice"}, "Enter a URL name"),
        ({"name": "A", "template": "nothing"}, "not one of the available choices"),
    ):
        answer = client.post("/", data)
        assert answer.status_code == 422
        assert message in answer.content.decode()
    assert Project.objects.count() == 1


# -- home --------------------------------------------------------------------------------------------------------------


def test_home_shows_the_next_step_of_the_user(desk: Desk) -> None:
    def step(role: str) -> str:
        context = desk.as_(role).get(desk.url()).context
        return str(context["steps"][0].button) if context["steps"] else ""

    assert step("engineer") == "Import documents"
    assert step("annotator") == ""
    bring_in(desk.project, [invoice(number, gold=False) for number in range(3)])
    assert step("annotator") == "Label"
    assert step("engineer") == "Label"
    bring_in(desk.project, [invoice(10)])
    assert step("engineer") == "Label"  # one label of four
    bring_in(desk.project, [invoice(number) for number in range(11, 20)])
    assert step("engineer") == "Freeze a version"
    assert step("manager") == ""
    freeze(project=desk.project, user=desk.people["engineer"])
    assert step("engineer") != "Freeze a version"
    assert step("annotator") == "Label"


SECTIONS = {
    "annotator": ["Overview", "Documents", "Label", "Review", "Progress"],
    "reviewer": ["Overview", "Documents", "Label", "Review", "Progress", "Deploy"],
    "manager": ["Overview", "Contract", "Documents", "Progress", "Studies", "Evaluation", "Gates", "Deploy"],
    "engineer": [
        *("Overview", "Contract", "Documents", "Pre-labels", "Label", "Review", "Progress", "Datasets", "Benchmark"),
        *("Training", "Studies", "Evaluation", "Gates", "Deploy"),
    ],
}
SECTIONS["owner"] = [*SECTIONS["engineer"], "Settings"]


def test_the_sidebar_has_the_sections_of_the_role(desk: Desk) -> None:
    for role, sections in SECTIONS.items():
        page = desk.as_(role).get(desk.url()).content.decode()
        sidebar = page[page.index('class="sidebar"') : page.index("</nav>", page.index('class="sidebar"'))]
        assert re.findall(r"<span>([^<]+)</span>", sidebar) == sections, role
        dialog = page[page.index("<dialog") : page.index("</dialog>")]
        assert all(f"</kbd> {title}<" in dialog for title in sections)


def test_home_takes_a_fixed_number_of_queries(desk: Desk) -> None:
    client = desk.as_("engineer")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(desk.url()).status_code == 200
        return len(captured)

    bring_in(desk.project, [invoice(number) for number in range(3)])
    freeze(project=desk.project, user=desk.people["engineer"])
    before = queries()
    bring_in(desk.project, [invoice(number) for number in range(10, 60)])
    freeze(project=desk.project, user=desk.people["engineer"])
    assert queries() <= before
    assert before <= 32


# -- contract ----------------------------------------------------------------------------------------------------------


def test_readers_cannot_change_the_contract(desk: Desk) -> None:
    client = desk.as_("annotator")
    page = client.get(desk.url("contract/")).content.decode()
    assert "Extract invoice fields into the JSON schema." in page
    assert "<textarea" not in page.split("preview-form")[0]
    answer = client.post(desk.url("contract/"), contract_form(desk, instruction="Mine now."))
    assert answer.status_code == 403
    assert "As annotator you cannot change the contract" in answer.content.decode()
    desk.project.contract.refresh_from_db()
    assert desk.project.contract.instruction != "Mine now."


def test_engineers_save_the_contract(desk: Desk) -> None:
    schema = loads(desk.project.schema_version.schema_text)
    schema["properties"]["note"] = {"type": "string", "maxLength": 20}
    form = contract_form(desk, schema=dumps(schema), latency_p95_ms="750", currency="eur")
    answer = desk.as_("engineer").post(desk.url("contract/"), form)
    assert answer.status_code == 302
    contract = type(desk.project.contract).objects.get()
    assert contract.constraints["latency_p95_ms"] == 750
    assert contract.constraints["currency"] == "EUR"
    assert SchemaVersion.objects.count() == 2


def test_invalid_schema_keeps_the_typed_text(desk: Desk) -> None:
    broken = '{"type": "object", "properties": {"a": {"type": "strin"}}}'
    answer = desk.as_("engineer").post(desk.url("contract/"), contract_form(desk, schema=broken, latency_p95_ms="x"))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "Enter a number" in page
    assert "&quot;strin&quot;" in page
    answer = desk.as_("owner").post(desk.url("contract/"), contract_form(desk, schema=broken))
    assert "At properties.a.type" in answer.content.decode()
    assert SchemaVersion.objects.count() == 1


def test_preview_shows_form_impact_and_decoder_limits(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)])
    client = desk.as_("engineer")

    def preview(schema: str) -> str:
        answer = client.post(desk.url("contract/preview/"), {"schema": schema})
        assert answer.status_code == 200
        return answer.content.decode()

    page = preview('{"type": "object", "properties": {"city": {"type": "string", "title": "City", "maxLength": 9}}}')
    assert "City" in page
    assert "<html" not in page
    assert "not valid JSON" in preview('{"type": "object", "properties": ')
    assert "not valid JSON" in preview("")
    schema = loads(desk.project.schema_version.schema_text)
    schema["required"] = [*schema["required"], "due_date"]
    schema["properties"]["lines"] = {"type": "array", "uniqueItems": True, "items": {"type": "string", "maxLength": 5}}
    page = preview(dumps(schema))
    assert "1 of 1 labeled document is no longer valid" in page
    assert "due_date" in page
    assert "checked after decoding" in page
    assert SchemaVersion.objects.count() == 1


def test_the_text_that_a_schema_was_derived_from_is_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pasted = '{"total": 12.5}\n{"total": 7}'
    derived = contract_form(desk, schema=dumps(draft_schema(pasted).schema), source=pasted)
    desk.as_("engineer").post(desk.url("contract/"), derived)
    version = desk.project.schema_versions.get(number=2)
    assert version.source_text == pasted
    page = desk.as_("annotator").get(desk.url("contract/versions/2/"))
    assert (page.context["notes"], escape(pasted) in page.content.decode()) == ((), True)
    monkeypatch.setattr(contract_views, "MAX_SCHEMA", 10)
    longer = contract_form(desk, schema='{"properties": {"a": {"type": "string"}}}', source=pasted, seen="")
    desk.as_("engineer").post(desk.url("contract/"), longer)
    assert "a" in (newest := desk.project.schema_versions.get(number=3)).compiled.schema["properties"]
    assert pasted not in newest.source_text


def test_hostile_names_are_escaped(desk: Desk) -> None:
    hostile = "<script>alert(1)</script>"
    Project.objects.update(name=hostile)
    schema = loads(desk.project.schema_version.schema_text)
    schema["properties"]["a"] = {"type": "string", "title": hostile, "description": '"><img src=x>', "maxLength": 9}
    client = desk.as_("engineer")
    client.post(desk.url("contract/"), contract_form(desk, schema=dumps(schema), instruction=hostile))
    for path in ("", "contract/", "documents/", "datasets/"):
        page = client.get(desk.url(path)).content.decode()
        assert hostile not in page
        assert "<img src=x>" not in page


# -- the frame of the JSON editor --------------------------------------------------------------------------------------


def test_frame_policy_only_adds_styles(desk: Desk) -> None:
    """The JSON editor may style itself; it may load and send nothing."""
    client = desk.as_("annotator")
    answer = client.get("/editor/")
    assert answer.status_code == 200
    policy = dict(part.strip().partition(" ")[::2] for part in answer["Content-Security-Policy"].split(";"))
    assert policy["style-src"] == "'self' 'unsafe-inline'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'self'"
    assert policy["connect-src"] == policy["form-action"] == policy["default-src"] == "'none'"
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    other = client.get("/p/desk/contract/")
    assert "unsafe-inline" not in other["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in other["Content-Security-Policy"]
    assert other["X-Frame-Options"] == "DENY"

"""Projects and contracts: what a new one holds, what is refused and how, what a new schema does to labels."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.utils import DatabaseError
from django.test.utils import CaptureQueriesContext

from labeling.contract.constraints import clean_constraints
from labeling.contract.errors import ContractError
from labeling.contract.schema_text import notes_of, pretty, read_schema
from labeling.demo.templates import templates
from labeling.models import Document, DocumentState, Gold, Membership, Project, SchemaVersion
from labeling.projects.services import ProjectError, contract_etag, create_project, save_contract, schema_impact
from slmstudio.access import Role
from slmstudio.contract.schema.compiled import dumps, loads, sha256
from tests.labeling.desk import Desk, bring_in, invoice, person

pytestmark = pytest.mark.django_db


def save(desk: Desk, **changes: Any) -> SchemaVersion:
    contract = desk.project.contract
    values = {
        "instruction": contract.instruction,
        "schema_text": pretty(desk.project.schema_version.schema_text),
        "constraints": contract.constraints,
        **changes,
    }
    return save_contract(project=desk.project, user=desk.people["engineer"], **values)


def schema_of(desk: Desk, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = loads(desk.project.schema_version.schema_text)
    schema["properties"].update(properties)
    return schema


def test_a_project_from_every_template() -> None:
    owner, ana = person("owner"), person("ana")
    for template in templates():
        members = {ana: Role.ANNOTATOR}
        project = create_project(owner=owner, name="P", slug=template.slug, template=template.slug, members=members)
        assert project.contract.instruction == template.instruction
        assert loads(project.schema_version.schema_text) == template.schema
        roles = Membership.objects.filter(project=project).values_list("user", "role")
        assert set(roles) == {(owner.pk, Role.OWNER), (ana.pk, Role.ANNOTATOR)}


def test_invalid_project_is_refused(desk: Desk) -> None:
    for field, value in (
        ("name", " "),
        ("name", "x" * 121),
        ("slug", "not a slug"),
        ("slug", "desk"),
        ("template", "nothing"),
    ):
        values: dict[str, Any] = {"name": "P", "slug": "p", "template": "invoice", field: value}
        with pytest.raises(ProjectError) as caught:
            create_project(owner=desk.people["owner"], **values)
        assert field in caught.value.errors
    assert Project.objects.count() == 1


def test_only_a_changed_schema_creates_a_version(desk: Desk) -> None:
    assert save(desk, instruction="Another sentence.").number == 1
    desk.project.contract.refresh_from_db()
    assert desk.project.contract.instruction == "Another sentence."
    schema = schema_of(desk)
    assert save(desk, schema_text=json.dumps(schema, indent=8, default=float)).number == 1, "spacing is no change"
    properties = schema["properties"]
    schema["properties"] = {name: properties[name] for name in reversed(properties)}
    version = save(desk, schema_text=dumps(schema))
    assert version.number == 2, "the order of fields is one"
    assert version.sha256 == sha256(version.schema_text)
    assert version.compiled.fields[0].name == "purchase_order"


def test_invalid_schema_is_refused_with_its_path(desk: Desk) -> None:
    for text, message in (
        ("", "not valid JSON"),
        ('{"type": "object",}', "line 1, column 19"),
        ('{"type": "object", "type": "array"}', "occurs twice"),
        ("[]", "A schema must be a JSON object"),
        ('{"type": "object", "properties": {"a": {"type": "strin"}}}', "At properties.a.type"),
        ('{"properties": {"a": {"$ref": "#/$defs/adress"}}, "$defs": {"address": {}}}', "At properties.a"),
        ('{"type": "object", "properties": {"a": {"type": "string", "x-slm": {"kind": "nothing"}}}}', "x-slm"),
        ('{"type": "object", "properties": {}}', "field"),
        ('{"type": "object", "description": "' + "x" * 2_000_000 + '"}', "longer than"),
    ):
        with pytest.raises(ContractError) as caught:
            save(desk, schema_text=text)
        assert message in caught.value.errors["schema"]
    assert SchemaVersion.objects.count() == 1


def test_all_errors_are_reported_and_nothing_is_saved(desk: Desk) -> None:
    before = desk.project.contract.instruction
    with pytest.raises(ContractError) as caught:
        save(desk, instruction="  ", schema_text="{", constraints={"latency_p95_ms": -1})
    assert set(caught.value.errors) == {"instruction", "schema", "latency_p95_ms"}
    desk.project.contract.refresh_from_db()
    assert desk.project.contract.instruction == before


def test_constraints_are_checked_and_stored_as_numbers() -> None:
    invalid: list[dict[str, Any]] = [
        {"latency_p95_ms": 0},
        {"cost_per_request": "0.1"},
        {"hardware_memory_gb": True},
        {"requests_per_second": Decimal("NaN")},
        {"currency": "usd"},
        {"speed": 1},
    ]
    for constraints in invalid:
        with pytest.raises(ContractError) as caught:
            clean_constraints(constraints)
        assert list(caught.value.errors) == list(constraints)
    clean = clean_constraints({"latency_p95_ms": Decimal("800"), "cost_per_request": Decimal("0.002"), "currency": ""})
    assert clean == {"latency_p95_ms": 800, "cost_per_request": 0.002}


def test_stale_save_is_refused(desk: Desk) -> None:
    etag = contract_etag(desk.project.contract)
    save(desk, instruction="From the first page.", seen=etag)
    with pytest.raises(ContractError) as caught:
        save(desk, instruction="From the second page.", seen=etag)
    assert "while you were editing" in caught.value.errors["form"]
    desk.project.contract.refresh_from_db()
    assert desk.project.contract.instruction == "From the first page."


def test_invalid_labels_are_requeued(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2), invoice(3, gold=False)])
    short = invoice(4)
    short["gold"]["vendor"] = "A"
    bring_in(desk.project, [short])
    schema = schema_of(desk)
    schema["properties"]["vendor"]["minLength"] = 3
    compiled = read_schema(dumps(schema)).compiled

    dry = schema_impact(project=desk.project, compiled=compiled)
    assert (dry.checked, dry.invalid) == (3, 1)
    assert dry.examples[0][0].external_id == "inv-0004"
    assert "vendor" in dry.examples[0][1]

    assert save(desk, schema_text=dumps(schema)).number == 2
    states = dict(Document.objects.values_list("external_id", "state"))
    assert states == {
        "inv-0001": DocumentState.SUBMITTED,
        "inv-0002": DocumentState.SUBMITTED,
        "inv-0003": DocumentState.NEW,
        "inv-0004": DocumentState.IN_PROGRESS,
    }
    assert Gold.objects.filter(schema_version__number=1).count() == 3, "old labels stay"
    assert {gold.document.external_id for gold in Gold.objects.current(desk.project)} == {"inv-0001", "inv-0002"}
    assert Document.objects.get(external_id="inv-0004").requeue_reason.startswith("The schema changed to v2: vendor")


def test_a_renamed_field_does_not_make_labels_invalid(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    schema = schema_of(desk)
    schema["properties"] = {
        {"vendor": "vendor_name"}.get(name, name): field for name, field in schema["properties"].items()
    }
    schema["required"] = [{"vendor": "vendor_name"}.get(name, name) for name in schema["required"]]
    impact = schema_impact(project=desk.project, compiled=read_schema(dumps(schema)).compiled)
    assert (impact.checked, impact.invalid, len(impact.mapping)) == (2, 0, 1)
    assert "vendor_name" in impact.mapping[0]


def test_pending_reviews_are_requeued(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2), invoice(3, gold=False)])
    text = dumps(schema_of(desk, note={"type": "string"}))
    assert schema_impact(project=desk.project, compiled=read_schema(text).compiled).pending == 0
    Project.objects.filter(pk=desk.project.pk).update(review_required=True)
    desk.project.refresh_from_db()
    assert schema_impact(project=desk.project, compiled=read_schema(text).compiled).pending == 2
    page = desk.as_("engineer").post(desk.url("contract/preview/"), {"schema": text})
    assert "2 submitted documents" in page.content.decode()
    with CaptureQueriesContext(connection) as queries:
        save(desk, schema_text=text)
    assert Document.objects.counts_by_state() == {"in_progress": 2, "new": 1}
    about = [query["sql"] for query in queries if '"labeling_document"' in query["sql"]]
    changed = next(number for number, sql in enumerate(about) if sql.startswith("UPDATE"))
    # As bulk edits and migrations do, in one order: two of them never wait for each other.
    assert "ORDER BY" in about[changed - 1]
    assert about[changed - 1].endswith("FOR NO KEY UPDATE")


def test_schema_is_displayed_as_written() -> None:
    text = '{"type":"object","properties":{"a":{"type":["number","null"],"multipleOf":0.010}}}'
    shown = pretty(text)
    assert '"a": {"type": ["number", "null"], "multipleOf": 0.010}' not in shown  # it holds a list, so it is opened
    assert '"type": ["number", "null"],' in shown
    assert "0.010" in shown
    assert dumps(loads(shown)) == text


def test_the_database_refuses_to_change_a_schema_version(desk: Desk) -> None:
    version = desk.project.schema_version
    with pytest.raises((IntegrityError, DatabaseError), match="frozen"), transaction.atomic():
        SchemaVersion.objects.filter(pk=version.pk).update(schema_text="{}")
    SchemaVersion.objects.filter(pk=version.pk).update(created_by=None)


PASTED = """```json
{"name": "invoice", "schema": {"properties": {"id": {"type": "string", "format": "color", "nullable": true}}}}
```"""


def test_a_pasted_schema_is_stored_with_its_source(desk: Desk) -> None:
    version = save(desk, schema_text=PASTED)
    assert loads(version.schema_text) == {"properties": {"id": {"type": ["string", "null"]}}, "type": "object"}
    assert version.source_text == PASTED
    assert len(notes_of(version.source_text)) == 5
    again = save(desk, schema_text=pretty(version.schema_text))
    assert again.pk == version.pk
    typed = save(desk, schema_text='{"type": "object", "properties": {"id": {"type": "string"}}}')
    assert (typed.source_text, notes_of(typed.source_text)) == ("", ())

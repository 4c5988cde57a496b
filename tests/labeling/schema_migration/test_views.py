"""The pages on which a change of the schema is planned, tried and applied."""

from typing import Any

from labeling import jobs
from labeling.models import Gold, SchemaMigration
from labeling.projects.services import contract_etag
from slmstudio.contract.schema.compiled import dumps, loads
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None, queues: None) -> Desk:
    made = make_desk()
    bring_in(made.project, [invoice(1), invoice(2)])
    return made


def contract_data(desk: Desk, **properties: Any) -> dict[str, Any]:
    schema = loads(desk.project.schema_version.schema_text)
    del schema["properties"]["vendor"]
    schema["required"] = [name for name in schema["required"] if name != "vendor"]
    schema["properties"].update(properties or {"vendor_name": {"type": "string"}})
    contract = desk.project.contract
    return {"instruction": "Read the invoice.", "schema": dumps(schema), "seen": contract_etag(contract)}


def planned(desk: Desk) -> SchemaMigration:
    answer = desk.as_("engineer").post(desk.url("contract/migrations/plan/"), contract_data(desk))
    assert answer.status_code == 302, answer.content
    run = SchemaMigration.objects.get()
    jobs.run_schema_migration(run.pk)
    run.refresh_from_db()
    return run


def test_dry_run_suggests_mapping_and_saves_instruction(desk: Desk) -> None:
    run, client = planned(desk), desk.as_("engineer")
    assert {"do": "rename", "field": "vendor", "to": "vendor_name"} in run.mapping
    desk.project.contract.refresh_from_db()
    assert desk.project.contract.instruction == "Read the invoice."
    url = desk.url(f"contract/migrations/{run.pk}/")
    page = client.get(url).content.decode()
    for text in ("removed", "Acme Supplies", "Apply to all labels"):
        assert text in page
    for expression, message in (("(?P<vendor_name>(", "is not a regular expression"), ("", "Enter an expression")):
        answer = client.post(url, {"gone-0": "split", "by-0": expression, "do": "try"})
        assert answer.status_code == 422
        assert message in answer.content.decode()


def test_changed_mapping_needs_a_dry_run(desk: Desk) -> None:
    run = planned(desk)
    client = desk.as_("engineer")
    url = desk.url(f"contract/migrations/{run.pk}/")
    client.post(url, {"gone-0": "drop", "new-0": "somebody", "do": "apply"})
    second = SchemaMigration.objects.latest("pk")
    assert second.dry_run
    jobs.run_schema_migration(second.pk)
    client.post(desk.url(f"contract/migrations/{second.pk}/"), {"gone-0": "drop", "new-0": "somebody", "do": "apply"})
    third = SchemaMigration.objects.latest("pk")
    assert not third.dry_run
    jobs.run_schema_migration(third.pk)
    values = [gold.revision.value for gold in Gold.objects.newest_of(desk.project).select_related("revision")]
    assert [value["vendor_name"] for value in values] == ["somebody", "somebody"]


# -- plain Save --------------------------------------------------------------------------------------------------------


def save(desk: Desk, schema: dict[str, Any]) -> Any:
    data = {"instruction": "Read the invoice.", "schema": dumps(schema), "seen": contract_etag(desk.project.contract)}
    desk.project.contract.refresh_from_db()
    return desk.as_("engineer").post(desk.url("contract/"), {**data, "seen": contract_etag(desk.project.contract)})


def schema_of(desk: Desk, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = loads(desk.project.schema_version.schema_text)
    schema["properties"].update(properties)
    return schema


def test_breaking_schema_starts_a_dry_run(desk: Desk) -> None:
    first = schema_of(desk)
    schema = schema_of(desk, po_number={"type": "string"})
    schema["required"].append("po_number")
    answer = save(desk, schema)
    run = SchemaMigration.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, desk.url(f"contract/migrations/{run.pk}/"))
    assert (run.dry_run, desk.project.schema_version.number) == (True, 1)
    assert Gold.objects.current(desk.project).count() == 2
    desk.project.contract.refresh_from_db()
    assert desk.project.contract.instruction == "Read the invoice."
    jobs.run_schema_migration(run.pk)
    desk.as_("engineer").post(answer["Location"], {"do": "apply"})
    jobs.run_schema_migration(SchemaMigration.objects.latest("pk").pk)
    assert Gold.objects.current(desk.project).count() == 0

    back = save(desk, first)
    run = SchemaMigration.objects.latest("pk")
    assert back["Location"] == desk.url(f"contract/migrations/{run.pk}/")
    jobs.run_schema_migration(run.pk)
    page = desk.as_("engineer").get(back["Location"])
    assert page.context["result"]["restored"] == 2
    desk.as_("engineer").post(back["Location"], {"gone-0": "drop", "do": "apply"})
    jobs.run_schema_migration(SchemaMigration.objects.latest("pk").pk)
    assert Gold.objects.current(desk.project).count() == 2


def test_compatible_schema_is_saved_directly_and_a_renamed_field_gets_a_mapping(desk: Desk) -> None:
    answer = save(desk, schema_of(desk, note={"type": "string"}))
    assert answer["Location"] == desk.url("contract/")
    assert desk.project.schema_version.number == 2
    assert Gold.objects.current(desk.project).count() == 2
    assert not SchemaMigration.objects.exists()
    desk.project.contract.refresh_from_db()
    answer = desk.as_("engineer").post(desk.url("contract/"), contract_data(desk))
    run = SchemaMigration.objects.get()
    assert answer["Location"] == desk.url(f"contract/migrations/{run.pk}/")
    assert {"do": "rename", "field": "vendor", "to": "vendor_name"} in run.mapping


def test_a_constraint_without_effect_is_saved_and_removed_without_a_migration(desk: Desk) -> None:
    first = loads(desk.project.schema_version.schema_text)
    total = {**first["properties"]["total_amount"], "minimum": 0}
    for schema in (schema_of(desk, total_amount=total), first):
        assert save(desk, schema)["Location"] == desk.url("contract/")
    assert desk.project.schema_version.number == 3
    assert not SchemaMigration.objects.exists()
    assert Gold.objects.current(desk.project).count() == 2

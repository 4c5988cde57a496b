"""The pages on which a change of the schema is planned, tried and applied."""

from typing import Any

import pytest

from labeling import jobs
from labeling.models import Gold, SchemaMigration
from labeling.services.projects import stamp
from slmstudio.contract.schema import dumps, loads
from tests.labeling.desk import Desk, bring_in, invoice, make_desk


@pytest.fixture
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
    return {"instruction": "Read the invoice.", "schema": dumps(schema), "seen": stamp(contract)}


def planned(desk: Desk) -> SchemaMigration:
    answer = desk.as_("engineer").post(desk.url("contract/migrations/plan/"), contract_data(desk))
    assert answer.status_code == 302, answer.content
    run = SchemaMigration.objects.get()
    jobs.run_schema_migration(run.pk)
    run.refresh_from_db()
    return run


def test_planning_suggests_a_mapping_and_saves_the_instruction(desk: Desk) -> None:
    run = planned(desk)
    assert {"do": "rename", "field": "vendor", "to": "vendor_name"} in run.mapping
    desk.project.contract.refresh_from_db()
    assert desk.project.contract.instruction == "Read the invoice."
    page = desk.as_("engineer").get(desk.url(f"contract/migrations/{run.pk}/")).content.decode()
    assert "no longer there" in page
    assert "Acme Supplies" in page
    assert "Apply to all labels" in page


def test_another_mapping_is_tried_before_it_is_applied(desk: Desk) -> None:
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


def test_an_expression_that_is_none_is_said_beside_the_form(desk: Desk) -> None:
    run = planned(desk)
    url = desk.url(f"contract/migrations/{run.pk}/")
    answer = desk.as_("engineer").post(url, {"gone-0": "split", "by-0": "(?P<vendor_name>(", "do": "try"})
    assert answer.status_code == 422
    assert "is no regular expression" in answer.content.decode()
    missing = desk.as_("engineer").post(url, {"gone-0": "split", "by-0": "", "do": "try"})
    assert "Give the expression to split by" in missing.content.decode()


def test_a_schema_that_is_none_goes_back_to_the_contract(desk: Desk) -> None:
    data = {**contract_data(desk), "schema": "{"}
    answer = desk.as_("engineer").post(desk.url("contract/migrations/plan/"), data, follow=True)
    assert "This is not JSON" in answer.content.decode()
    assert not SchemaMigration.objects.exists()


def test_members_read_it_and_only_some_change_it(desk: Desk) -> None:
    run = planned(desk)
    page = desk.as_("annotator").get(desk.url(f"contract/migrations/{run.pk}/"))
    assert page.status_code == 200
    assert "mapping-form" not in page.content.decode()
    assert desk.as_("annotator").post(desk.url(f"contract/migrations/{run.pk}/"), {}).status_code == 403


def test_the_fragment_brings_the_buttons_once_it_is_done(desk: Desk) -> None:
    run = planned(desk)
    fragment = desk.as_("engineer").get(desk.url(f"contract/migrations/{run.pk}/"), headers={"hx-request": "true"})
    body = fragment.content.decode()
    assert "<html" not in body
    assert 'id="mapping-actions" hx-swap-oob="true"' in body

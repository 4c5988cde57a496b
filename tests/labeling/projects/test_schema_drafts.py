"""Drafts of a schema over the page: from a text, and from the labels of a project."""

import json
from collections import Counter
from typing import Any

from labeling.imports.rows import MISFIT
from labeling.models import ImportRun
from slmstudio.contract.json_text import loads
from slmstudio.storage import artifacts
from tests.contract.hostile_schemas import hostile_schema, statements
from tests.labeling.desk import Desk, bring_in, invoice


def draft(desk: Desk, body: Any, role: str = "engineer") -> Any:
    return desk.as_(role).post(desk.url("contract/draft/"), json.dumps(body), content_type="application/json")


def test_an_error_names_its_line(desk: Desk) -> None:
    answer = draft(desk, {"text": '\n{"a": oops}'})
    assert (answer.status_code, answer.json()["line"]) == (422, 2)
    assert draft(desk, {"text": 3}).status_code == 400
    assert desk.as_("engineer").post(desk.url("contract/draft/"), "x", content_type="text/plain").status_code == 400


def test_labels_are_examples_also_those_that_an_import_rejected(desk: Desk) -> None:
    assert draft(desk, {"labels": True}).status_code == 422
    bring_in(desk.project, [invoice(1), invoice(2)])
    answer = draft(desk, {"labels": True}).json()
    assert answer["examples"] == 2
    assert loads(answer["schema"])["properties"]["date"] == {"type": "string", "format": "date"}

    rows = [{"row": 1, "reason": "x", "line": json.dumps({"text": "x", "gold": {"other": True}})}, {"row": 2}]
    text = "\n".join(json.dumps(row) for row in rows) + "\nbroken\n"
    artifacts.write_text("imports/x/rejected.jsonl", text)
    run = ImportRun.objects.create(
        project=desk.project,
        created_by=desk.people["owner"],
        file_name="x.jsonl",
        rejects_key="imports/x/rejected.jsonl",
        rejects=[{"row": 1, "id": "x", "reason": f"{MISFIT}: total is required"}],
        rejected=1,
        status="done",
    )
    answer = draft(desk, {"labels": True}).json()
    assert answer["examples"] == 3
    assert loads(answer["schema"])["properties"]["other"] == {"type": "boolean"}
    for role, leads in (("engineer", True), ("annotator", False)):
        page = desk.as_(role).get(desk.url(f"documents/import/{run.pk}/")).content.decode()
        assert ("#from-labels" in page) == leads


def test_no_text_is_an_error_of_the_server(desk: Desk) -> None:
    texts = [json.dumps(schema) for schema in (statements(), *map(hostile_schema, range(60)))]
    texts += ["type A=B; type B=A; type C = Partial<A>", "a: 1e99999999999", "class A:\n    a: int = " + "-" * 9_000]
    statuses = Counter(draft(desk, {"text": text}).status_code for text in texts)
    assert statuses.keys() == {200, 422}
    assert statuses[200] > 25


def test_no_schema_is_an_error_of_the_preview(desk: Desk) -> None:
    client = desk.as_("engineer")
    for schema in (statements(), *map(hostile_schema, range(5))):
        answer = client.post(desk.url("contract/preview/"), {"schema": json.dumps(schema)})
        assert answer.status_code == 200

"""``/api/v1/projects/{slug}/feedback``: what callers send, and what is stored."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from serving.gateway.request_log import writer
from serving.models import Judgment
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from tests.evaluation.factories import World
from tests.serving import event_loop
from tests.serving.gateway.rig import Rig, release, rig, route
from tests.serving.review.rows import deployed, gold_of, logged

ID = str(uuid.uuid4())


async def send(gateway: Rig, body: Any, *, token: str = "good", slug: str = "invoices") -> Any:
    """The response to feedback."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return await gateway.client.post(f"/api/v1/projects/{slug}/feedback", content=dumps(body), headers=headers)


def response_to(tmp_path: Path, body: Any, **more: Any) -> Any:
    async def work() -> Any:
        async with rig(tmp_path, route(release(1))) as gateway:
            return await send(gateway, body, **more)

    return event_loop.run(work())


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the database answers, in turn: an exception is raised."""
    waiting: list[Any] = []

    async def in_database(work: Any, **_: Any) -> Any:
        answer = waiting.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(writer, "in_database", in_database)
    monkeypatch.setattr(writer, "WAITS", (0.001, 0.001))
    return waiting


async def test_tokens_and_bodies_are_checked(tmp_path: Path, answers: list[Any]) -> None:
    right = {"request_id": ID, "right": True}
    async with rig(tmp_path, route(release(1))) as gateway:
        for token, slug, body, status, code, field in (
            ("bad", "invoices", right, 401, "invalid_token", None), ("reader", "invoices", right, 403, "scope", None),
            ("other", "invoices", right, 404, "project", None),
            ("judge", "invoices", {"request_id": ID, "rigth": True}, 422, "field", "rigth"),
            ("good", "invoices", {"request_id": ID, "right": "yes"}, 422, "field", "right"),
            ("good", "invoices", [], 400, "invalid_json", None),
        ):  # fmt: skip
            response = await send(gateway, body, token=token, slug=slug)
            problem = response.json()
            assert (response.status_code, problem["code"], problem.get("field")) == (status, code, field)
            assert response.headers["content-type"] == "application/problem+json"
        for token in ("good", "judge"):
            answers.append(Judgment(request_id=uuid.UUID(ID), right=True, fields={"total": True}))
            response = await send(gateway, right, token=token)
            assert response.json() == {"request_id": ID, "right": True, "fields": {"total": True}}


def test_a_request_that_is_still_in_a_file_is_found(tmp_path: Path, answers: list[Any]) -> None:
    unknown = None
    answers[:] = [unknown, unknown, Judgment(request_id=uuid.UUID(ID), right=False)]
    assert response_to(tmp_path, {"request_id": ID, "right": False}).status_code == 200
    answers[:] = [unknown, unknown, unknown]
    response = response_to(tmp_path, {"request_id": ID, "right": False})
    assert (response.status_code, response.json()["code"]) == (404, "request")


def test_every_wrong_field_of_an_object_is_named(tmp_path: Path, answers: list[Any]) -> None:
    errors = {"vendor": "must be a text", "total": "must be a number"}
    answers.append(Refused("vendor must be a text.", field="output.vendor", code="schema", errors=errors))
    response = response_to(tmp_path, {"request_id": ID, "output": {"vendor": 5}})
    assert (response.status_code, response.json()["code"], response.json()["field"]) == (422, "schema", "output.vendor")
    assert {error["field"] for error in response.json()["errors"]} == {"vendor", "total"}


def test_without_the_database_the_caller_tries_again(tmp_path: Path, answers: list[Any]) -> None:
    answers.append(OperationalError("away"))
    response = response_to(tmp_path, {"request_id": ID, "right": True})
    assert (response.status_code, response.json()["code"], response.headers["retry-after"]) == (503, "database", "5")


@pytest.mark.django_db(transaction=True)
def test_feedback_is_stored_with_all_digits(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "WAITS", (0.001,))
    row = logged(deployed(world))
    corrected = gold_of(39) | {"vendor": "Another Company"}
    response = response_to(tmp_path, {"request_id": f"chatcmpl-{row.id}", "output": corrected})
    assert response.status_code == 200, response.text
    assert (response.json()["right"], response.json()["fields"]["vendor"]) == (False, False)
    stored = Judgment.objects.get()
    assert (stored.request_id, stored.source, stored.token_id, stored.project) == (row.id, "caller", 7, world.project)
    assert response_to(tmp_path, {"request_id": str(uuid.uuid4()), "right": True}).status_code == 404

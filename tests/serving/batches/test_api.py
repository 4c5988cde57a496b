"""Batches over REST and on their page."""

import json
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from serving.batches import jobs
from serving.models import BatchRun, Deployment
from slmstudio.runs.models import Status
from tests.evaluation.factories import World
from tests.labeling.api_client import api_of
from tests.serving.batches.gateway import Gateway
from tests.serving.batches.test_batches import stand_in as stand_in
from tests.serving.factories import confirmations

LINES = b'{"id": "a", "text": "1"}\n{"text": 2}\n'
ADDRESS = "/api/v1/projects/invoices/extract/batch"


def token(world: World, *scopes: str) -> str:
    return str(api_of(world.project, world.engineer, *(scopes or ("extract",))).token)


def send(world: World, body: Any, kind: str, **headers: str) -> Any:
    """The response to a body."""
    authorized = {"Authorization": f"Bearer {token(world)}", **headers}
    return Client().post(ADDRESS, body, content_type=kind, headers=authorized)


def test_a_batch_is_started_read_and_downloaded(world: World, deployment: Deployment, stand_in: Gateway) -> None:
    headers = {"Authorization": f"Bearer {token(world)}", "Idempotency-Key": "one"}
    client = Client(headers=headers)
    started = client.post(ADDRESS, LINES, content_type="application/jsonl")
    assert (started.status_code, started.json()["status"], started.json()["total"]) == (202, "queued", 2)
    again = client.post(ADDRESS, LINES, content_type="application/jsonl")
    assert (again.status_code, again.json()["id"]) == (200, started.json()["id"])
    other = client.post(ADDRESS, LINES * 2, content_type="application/jsonl")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key")
    address = f"{ADDRESS}/{started.json()['id']}"
    assert client.get(f"{address}/result").status_code == 404
    jobs.run_batch(started.json()["id"])
    ended = client.get(address).json()
    assert (ended["status"], ended["answered"], ended["failed"], ended["done"]) == ("done", 1, 1, 2)
    response = client.get(ended["result"])
    assert response["Content-Disposition"].startswith("attachment")
    assert (response.status_code, response["Content-Type"]) == (200, "application/jsonl; charset=utf-8")
    rows = [json.loads(line) for line in response.getvalue().splitlines()]
    assert [(row["line"], row["id"], row.get("error", {}).get("code")) for row in rows] == [
        (1, "a", None),
        (2, "", "field"),
    ]
    assert [item["id"] for item in client.get(ADDRESS).json()["items"]] == [ended["id"]]
    assert client.post(f"{address}/resume").status_code == 409
    assert BatchRun.objects.get().token is not None


def test_arrays_and_files_are_accepted(world: World, deployment: Deployment) -> None:
    listed = send(world, json.dumps([{"text": "1"}, {"text": "2"}]), "application/json")
    assert (listed.status_code, listed.json()["total"]) == (202, 2)
    headers = {"Authorization": f"Bearer {token(world)}"}
    file = Client().post(ADDRESS, {"file": SimpleUploadedFile("b.jsonl", LINES)}, headers=headers)
    assert (file.status_code, file.json()["name"]) == (202, "b.jsonl")
    cancelled = Client().post(f"{ADDRESS}/{file.json()['id']}/cancel", headers=headers)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")


def test_bad_bodies(world: World, deployment: Deployment) -> None:
    for body, kind, status in (
        (b"\n", "application/jsonl", 422), (b"[", "application/json", 422), (b"a,b", "text/csv", 415),
        (b"", "application/octet-stream", 415),
    ):  # fmt: skip
        assert send(world, body, kind).status_code == status
    assert not BatchRun.objects.exists()
    Deployment.objects.all().delete()
    assert send(world, LINES, "application/jsonl").status_code == 409


def test_the_page_starts_cancels_and_resumes(world: World, deployment: Deployment, stand_in: Gateway) -> None:
    client = Client()
    client.force_login(world.engineer)
    page = "/p/invoices/deploy/batches/"
    bad = client.post(page, {"file": SimpleUploadedFile("a.jsonl", b"\n")})
    assert (bad.status_code, "file" in bad.context["form"].errors) == (422, True)
    client.post(page, {"file": SimpleUploadedFile("a.jsonl", LINES), "evidence": "on"})
    batch = BatchRun.objects.get()
    assert (batch.name, batch.evidence, batch.created_by, batch.token) == ("a.jsonl", True, world.engineer, None)
    shown = client.get(page, headers={"HX-Request": "true"})
    [asked] = confirmations(shown, f"{page}{batch.pk}/cancel/")
    assert asked == f"Cancel {batch.name}? The results so far are kept."
    client.post(f"{page}{batch.pk}/cancel/")
    batch.refresh_from_db()
    assert batch.status == Status.CANCELLED
    client.post(f"{page}{batch.pk}/resume/")
    jobs.run_batch(batch.pk)
    batch.refresh_from_db()
    assert batch.status == Status.DONE
    shown = client.get(page, headers={"HX-Request": "true"})
    assert [run.pk for run in shown.context["runs"]] == [batch.pk]
    assert "Line 2: text must be a non-empty string." in shown.content.decode()
    assert client.get(f"{page}{batch.pk}/result.jsonl").getvalue().count(b"\n") == 2
    assert client.post(f"{page}{batch.pk}/resume/", headers={"HX-Request": "true"}).status_code == 422

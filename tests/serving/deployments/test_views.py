"""The page of a deployment."""

import uuid
from datetime import timedelta
from typing import IO, Any

import httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from evaluation.approvals.decisions import withdraw
from evaluation.models import Endpoint, GateReport
from labeling.models import Document
from serving.deployments import gateway_client, services
from serving.models import Deployment, RequestLog
from serving.rollouts.watch import check_all
from tests.evaluation.factories import World, evaluated, permitted, right
from tests.serving.factories import approved_report, built, confirmations


def client(user: Any) -> Client:
    signed_in = Client()
    signed_in.force_login(user)
    return signed_in


def test_the_empty_page_leads_to_the_gates_or_to_the_form(world: World) -> None:
    page = client(world.engineer).get("/p/invoices/deploy/")
    assert page.status_code == 200
    assert page.context["deploy_form"].reports == {}
    report = approved_report(world)
    page = client(world.engineer).get("/p/invoices/deploy/")
    assert list(page.context["deploy_form"].reports) == [str(report.number)]
    assert page.context["deploy_form"].initial["stage"] == "full"


def test_deploying_is_offered_for_an_approved_report_to_who_may(world: World, report: GateReport) -> None:
    def offered(user: Any, shown: GateReport) -> list[str]:
        return [action.url for action in client(user).get(shown.get_absolute_url()).context["actions"]]

    assert offered(world.engineer, report) == [f"/p/invoices/deploy/?report={report.number}#deploy"]
    assert offered(world.annotator, report) == []
    assert offered(world.engineer, approved_report(world, decision="")) == []
    assert client(world.annotator).get("/p/invoices/deploy/").context["deploy_form"] is None
    services.deploy(project=world.project, user=world.engineer, stage="full", report=report)
    assert offered(world.engineer, report) == []


def test_a_model_without_approval_is_deployed_to_shadow_only(world: World, deployment: Deployment) -> None:
    run = evaluated(world, right)
    engineer, key = client(world.engineer), f"evaluation-{run.number}"
    values = {"report": key, "stage": "canary", "engine": "", "share": "5"}
    answer = engineer.post("/p/invoices/deploy/new/", values)
    assert list(answer.context["deploy_form"].errors) == ["stage"]
    assert engineer.post("/p/invoices/deploy/new/", {**values, "stage": "shadow"}).status_code == 302
    candidate = Deployment.objects.get().candidate
    assert candidate is not None
    assert candidate.package is not None
    assert (candidate.package.eval_run, candidate.report) == (run, None)
    page = engineer.get("/p/invoices/deploy/").content.decode()
    assert "deploy/abort/" in page
    assert "deploy/promote/" not in page


def test_a_withdrawn_approval_leads_to_the_stop(world: World, deployment: Deployment) -> None:
    release = deployment.stable
    assert release is not None
    assert release.report is not None
    engineer = client(world.engineer)
    assert not engineer.get("/p/invoices/deploy/").context["withdrawn"]
    withdraw(report=release.report, user=world.manager, reason="A gate was wrong.")
    page = engineer.get("/p/invoices/deploy/")
    assert [(row.pk, entry.details["reason"]) for row, entry in page.context["withdrawn"]] == [
        (release.pk, "A gate was wrong.")
    ]
    [action] = engineer.get(release.report.get_absolute_url()).context["actions"]
    assert action.label == "Stop the deployment"
    services.stop(deployment=deployment, user=world.engineer, reason="Withdrawn.")
    assert not engineer.get("/p/invoices/deploy/").context["withdrawn"]
    assert engineer.get(release.report.get_absolute_url()).context["actions"] == []


def test_a_version_that_was_taken_back_is_not_the_next_step(
    world: World, report: GateReport, deployment: Deployment
) -> None:
    engineer = client(world.engineer)
    address = f"/p/invoices/deploy/?report={report.number}#deploy"
    assert engineer.get("/p/invoices/").context["steps"][0].url == address
    services.deploy(project=world.project, user=world.engineer, stage="canary", report=report)
    services.abort(deployment=Deployment.objects.get(), user=world.engineer, reason="Worse.")
    assert address not in [step.url for step in engineer.get("/p/invoices/").context["steps"]]


def test_a_deployed_model_is_tried_until_its_first_request(world: World, deployment: Deployment) -> None:
    def offered(user: Any) -> bool:
        return "/p/invoices/deploy/#try" in [step.url for step in client(user).get("/p/invoices/").context["steps"]]

    assert offered(world.engineer)
    assert offered(world.manager)
    assert not offered(world.annotator)
    assert deployment.stable is not None
    assert deployment.stable.report is not None
    page = client(world.manager).get(deployment.stable.report.get_absolute_url())
    assert [action.url for action in page.context["actions"]] == ["/p/invoices/deploy/#try"]
    logged(deployment, total_ms=5.0)
    assert not offered(world.engineer)


def test_the_document_to_try_is_an_unlabeled_one(world: World, deployment: Deployment) -> None:
    def filled_in() -> Any:
        return client(world.engineer).get("/p/invoices/deploy/").context["try_form"].initial["text"]

    first = Document.objects.order_by("pk")[0]
    assert filled_in() == first.text
    Document.objects.create(project=world.project, external_id="new", text="Invoice 7", sha256="7" * 64)
    assert filled_in() == "Invoice 7"


def test_errors_name_their_field_and_an_approved_report_is_deployed(world: World, report: GateReport) -> None:
    manager, address = client(world.manager), "/p/invoices/deploy/new/"
    values = {"report": str(report.number), "stage": "full", "engine": "", "share": "400"}  # hidden for this stage
    for changes, field in (
        ({"report": "99"}, "report"), ({"stage": "now"}, "stage"), ({"stage": "canary"}, "share"),
        ({"stage": "canary", "share": "5"}, "stage"), ({"engine": "llama_cpp"}, "engine"),
    ):  # fmt: skip
        answer = manager.post(address, {**values, **changes}, headers={"HX-Request": "true"})
        assert answer.status_code == 422
        assert list(answer.context["deploy_form"].errors) == [field]
    # A missing GGUF file leads to its export.
    assert f"{world.training_run.get_absolute_url()}#exports" in answer.content.decode()
    assert manager.post(address, values).status_code == 302
    candidate = Deployment.objects.get().candidate
    assert candidate is not None
    assert candidate.report == report


def test_the_current_production_model_is_the_first_version(world: World) -> None:
    endpoint = Endpoint.objects.create(project=world.project, name="Big", url="http://127.0.0.1:9/v1", model="big")
    engineer = client(world.engineer)
    form = engineer.get("/p/invoices/deploy/").context["endpoint_form"]
    assert form.fields["capture"].initial == "token"
    assert client(world.annotator).get("/p/invoices/deploy/").context["endpoint_form"] is None
    assert engineer.post("/p/invoices/deploy/endpoint/", {"endpoint": "0"}).status_code == 422
    form = {"endpoint": endpoint.pk, "capture": "own_key"}
    assert "project owner" in engineer.post("/p/invoices/deploy/endpoint/", form).content.decode()
    assert not Deployment.objects.exclude(stable=None).exists()
    permitted(world, endpoint)
    answer = engineer.post("/p/invoices/deploy/endpoint/", form)
    assert answer["Location"] == "/p/invoices/deploy/captured/"
    assert Deployment.objects.get().capture == "own_key"
    stable = Deployment.objects.get().stable
    assert stable is not None
    assert stable.endpoint == endpoint
    page = engineer.get("/p/invoices/deploy/")
    assert page.context["endpoint_form"] is None
    assert page.context["stable"].state == ("done", "external")
    assert engineer.post("/p/invoices/deploy/endpoint/", {"endpoint": endpoint.pk}).status_code == 422


def test_a_promotion_is_confirmed_with_what_it_does_and_its_evidence(world: World, canary: Deployment) -> None:
    engineer, address = client(world.engineer), "/p/invoices/deploy/promote/"
    no_evidence = "No evidence yet: no requests were counted."
    assert confirmations(engineer.get("/p/invoices/deploy/"), address) == [
        f"Send 50% of the requests to version 2? {no_evidence}",
        f"Send all requests to version 2 and make it stable? {no_evidence}",
    ]
    check_all(timezone.now())
    few = "The candidate answered 0 of at least 200 requests in this stage."
    assert all(few in asked for asked in confirmations(engineer.get("/p/invoices/deploy/"), address))


def test_buttons_promote_abort_and_stop(world: World, canary: Deployment) -> None:
    engineer = client(world.engineer)
    assert engineer.post("/p/invoices/deploy/promote/", {"share": "50"}).status_code == 302
    assert Deployment.objects.get().share == 0.5
    assert engineer.post("/p/invoices/deploy/abort/", {"reason": "Slow."}).status_code == 302
    assert Deployment.objects.get().candidate is None
    assert engineer.post("/p/invoices/deploy/abort/", {"reason": "Slow."}).status_code == 422
    assert engineer.post("/p/invoices/deploy/stop/", {"reason": "Moved."}).status_code == 302
    assert Deployment.objects.get().stable is None


def test_the_page_follows_a_candidate_until_it_is_stable(world: World, shadow: Deployment) -> None:
    """The supervisor makes it the stable version a moment after the page is loaded again."""
    engineer = client(world.engineer)
    assert shadow.candidate is not None
    assert shadow.candidate.package is not None
    built(shadow.candidate.package)
    assert engineer.get("/p/invoices/deploy/").context["settling"] is False
    assert engineer.post("/p/invoices/deploy/promote/").status_code == 302
    assert engineer.get("/p/invoices/deploy/").context["settling"] is True
    services.finish_promotion(Deployment.objects.get())
    page = engineer.get("/p/invoices/deploy/")
    assert (page.context["candidate"], page.context["settling"]) == (None, False)


def test_a_document_and_a_file_are_tried_through_the_gateway(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def send(*, slug: str, text: str, file: tuple[str, IO[bytes]] | None, layout: bool, caller: str) -> httpx.Response:
        assert caller == world.engineer.username
        sent.append((slug, text) if file is None else (file[0], file[1].read(), layout))
        if file is not None:
            return httpx.Response(415, json={"code": "file_type", "detail": "It is a zip."})
        return httpx.Response(200, json={
            "output": {"total": 1, "due": None, "lines": [{"tax": None}]}, "model": "invoices@1",
            "request_id": "r", "confidence": {"total": 0.9, "due": 0.8, "lines[0].tax": 0.7},
            "evidence": {}, "latency_ms": {"total": 5, "model": 4}, "usage": {"output_tokens": 0},
        })  # fmt: skip

    monkeypatch.setattr(gateway_client, "send", send)
    engineer, address = client(world.engineer), "/p/invoices/deploy/try/"

    def tried(**values: Any) -> Any:
        return engineer.post(address, values, headers={"HX-Request": "true"})

    answer = tried(text="Total 1")
    assert (answer.status_code, sent.pop()) == (200, ("invoices", "Total 1"))
    assert answer.context["answer"]["output"]["total"] == 1
    assert answer.context["absent"] == ["due", "lines[0].tax"]
    assert "tokens" not in answer.text
    answer = tried(text="ignored", file=SimpleUploadedFile("a.zip", b"PK"), layout="on")
    assert (answer.status_code, sent.pop()) == (422, ("a.zip", b"PK", True))
    assert answer.context["try_form"].errors["file"] == ["It is a zip."]
    answer = tried(text=" ")
    assert (answer.status_code, "text" in answer.context["try_form"].errors) == (422, True)


def test_the_last_day_is_summed_up_in_a_fixed_number_of_queries(world: World, deployment: Deployment) -> None:
    def page() -> Any:
        with CaptureQueriesContext(connection) as queries_made:
            answer = client(world.engineer).get("/p/invoices/deploy/")
        return answer.context["stable"], len(queries_made)

    empty, before = page()
    assert (empty.p50_ms, empty.p95_ms, empty.errors) == (None, None, {})
    for number in range(1, 101):
        logged(deployment, total_ms=float(number))
    for code, status, times in (("invalid_output", 502, 3), ("queue_full", 429, 2), ("client_closed", 499, 1)):
        for _ in range(times):
            logged(deployment, code=code, status=status, total_ms=9_000.0)
    logged(deployment, total_ms=9_000.0, days=2)
    shown, after = page()
    assert (shown.requests, shown.failed) == (106, 3)
    assert (shown.p50_ms, shown.p95_ms) == (50.5, pytest.approx(95.05))
    assert list(shown.errors.items()) == [("invalid_output", 3), ("queue_full", 2), ("client_closed", 1)]
    assert after == before


def logged(deployment: Deployment, *, days: int = 0, **changes: Any) -> None:
    """A request to the stable version."""
    at = timezone.now() - timedelta(days=days)
    values = {"id": uuid.uuid4(), "protocol": "extract", "status": 200, "key_sha256": "", "total_ms": 1.0, **changes}
    RequestLog.objects.create(
        day=at.date(), created_at=at, project_id=deployment.project_id, release=deployment.stable, **values
    )

"""Comparisons on labeled documents: planned before labels, drawn from traffic, read honestly, issued with hashes."""

import json
import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from evaluation.gates.policy.services import set_policy
from evaluation.gates.services import create_report
from evaluation.models import Endpoint, EvalRun
from evaluation.stats import alpha_level
from labeling.annotation import services as annotation_services
from labeling.models import Contract, Document, Gold, Origin, Prediction
from serving.captures import services as captures
from serving.comparisons import services
from serving.comparisons.certificate import content_hash
from serving.comparisons.labels import needed_documents
from serving.comparisons.queries import ComparisonStatus
from serving.deployments import gate_certificates
from serving.deployments import queries as deployment_queries
from serving.deployments import services as deployment_services
from serving.models import ComparisonPair, Deployment, RequestLog, TrafficComparison
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_text
from tests.evaluation.factories import World, evaluated, make_version, right
from tests.serving.factories import answering, approved_report
from tests.shared_rows import shared_fixture


def value(number: int, **changes: Any) -> dict[str, Any]:
    """An invoice."""
    invoice = {"invoice_id": f"N-{number}", "date": "2026-01-14", "vendor": "ACME", "total_amount": number + 0.5}
    return {**invoice, **changes}


@shared_fixture
def deployed(world: World) -> Deployment:
    """The external model of today, and a small candidate in shadow."""
    endpoint = Endpoint.objects.create(
        project=world.project, name="Big", url="https://example.com/v1", model="big", price_in=2.0, price_out=10.0
    )
    deployment_services.deploy_endpoint(project=world.project, user=world.owner, endpoint=endpoint, capture="token")
    deployment_services.deploy(
        project=world.project, user=world.engineer, stage="shadow", report=approved_report(world)
    )
    deployment = deployment_queries.find(world.project)
    assert deployment is not None
    assert deployment.candidate is not None
    answering(deployment.candidate)
    return deployment


def traffic(deployment: Deployment, numbers: range, *, wrong: set[int] | None = None, failed: int = -1) -> None:
    """Requests that both answered; the candidate is wrong about some."""
    rows, at = [], timezone.now()
    for number in numbers:
        text = f"Invoice N-{number} of ACME, 14 January 2026, total {number + 0.5}"
        shared: dict[str, Any] = {
            "day": at.date(), "created_at": at, "project_id": deployment.project_id, "stage": "shadow", "status": 200,
            "protocol": "capture", "token_id": 1, "key_sha256": sha256_text(text), "text": text, "valid": True,
        }  # fmt: skip
        first = RequestLog(
            id=uuid.uuid4(), release=deployment.stable, source="stable", output=f"```json\n{dumps(value(number))}\n```",
            total_ms=900.0, model_ms=890.0, prompt_tokens=1_000, output_tokens=100, **shared,
        )  # fmt: skip
        output = dumps(value(number, vendor="Wrong" if number in (wrong or ()) else "ACME"))
        rows += [first, RequestLog(
            id=uuid.uuid4(), release=deployment.candidate, source="candidate", shadow_of=first.id, output=output,
            total_ms=90.0, model_ms=80.0, **{**shared, **({"status": 502} if number == failed else {})},
        )]  # fmt: skip
    RequestLog.objects.bulk_create(rows)


def label(world: World, comparison: TrafficComparison, number: int | None = None) -> None:
    """People label drawn documents, without a look at either output."""
    documents = Document.objects.filter(pk__in=comparison.pairs.values("document"), golds=None).order_by("pk")
    for document in documents[:number]:
        gold = value(int(document.text.split()[1].removeprefix("N-")))
        annotation_services.submit(document=document, user=world.annotator, value=gold, evidence={}, base_version=0)
    assert number is None or Gold.objects.filter(document__in=comparison.pairs.values("document")).count() >= number


def planned(deployment: Deployment, world: World, **changes: Any) -> TrafficComparison:
    """A comparison with its documents."""
    values = {"margin": 0.1, "documents": 60, **changes}
    comparison = services.start_labels(deployment=deployment, user=world.engineer, **values)
    services.draw(comparison=comparison, user=world.engineer)
    return comparison


def test_documents_are_drawn_at_random_and_labeled_without_the_outputs(world: World, deployed: Deployment) -> None:
    traffic(deployed, range(40))
    captures.collect(project=world.project, user=world.engineer, limit=10)
    comparison = planned(deployed, world, documents=25)
    pairs = ComparisonPair.objects.filter(comparison=comparison)
    assert pairs.count() == 25
    numbers = sorted(int(pair.document.text.split()[1].removeprefix("N-")) for pair in pairs)
    assert numbers != list(range(25))
    assert numbers != list(range(15, 40))
    proposals = Prediction.objects.filter(document__in=pairs.values("document"))
    assert proposals.exists()
    assert not proposals.filter(withheld=False).exists()
    # Once more draws nothing, and more traffic fills a plan that it could not fill before.
    assert services.draw(comparison=comparison, user=world.engineer) == 0
    other = planned(deployed, world, documents=50)
    assert other.pairs.count() == 40
    traffic(deployed, range(40, 60))
    assert services.draw(comparison=other, user=world.engineer) == 10


def test_documents_of_the_training_are_not_drawn(world: World, deployed: Deployment) -> None:
    trained = Document.objects.filter(project=world.project, holdout=False).first()
    assert trained is not None
    traffic(deployed, range(3))
    RequestLog.objects.filter(text__startswith="Invoice N-0").update(
        text=trained.text, key_sha256=sha256_text(trained.text)
    )
    comparison = planned(deployed, world)
    assert sorted(pair.document.text[:11] for pair in comparison.pairs.all()) == ["Invoice N-1", "Invoice N-2"]


def test_it_is_not_shown_until_enough_is_labeled_and_then_issued_with_hashes(
    world: World, deployed: Deployment
) -> None:
    Contract.objects.filter(project=world.project).update(
        constraints={"hardware_price_per_hour": 3.6, "currency": "EUR"}
    )
    traffic(deployed, range(90), wrong={3})
    client = Client()
    client.force_login(world.engineer)
    assert client.get("/p/invoices/deploy/comparisons/").context["needed"]["available"] == 90
    address = client.post(
        "/p/invoices/deploy/comparisons/new/shadow/",
        {"margin": "10", "measure": "document", "method": "anytime", "family": "", "documents": "90"},
    )["Location"]
    comparison = TrafficComparison.objects.get()
    assert (address, comparison.plan["margin"]) == ("/p/invoices/deploy/comparisons/1/", 0.1)
    label(world, comparison, 10)
    status = client.get(address).context["status"]
    assert (status.badge[0], status.may_issue, status.labels.unlabeled) == ("running", False, 80)
    assert client.post(f"{address}issue/").status_code == 422
    with pytest.raises(Refused) as refused:
        services.issue(comparison=comparison, user=world.manager)
    assert refused.value.code == "not_shown"
    label(world, comparison)
    assert client.post(f"{address}issue/").status_code == 302
    content = json.loads(client.get(f"{address}certificate.json").content)
    comparison.refresh_from_db()
    assert (comparison.verdict, content["outcome"], content["pairs"], content["drawn"]) == (
        "certified", "certified", 90, 90,
    )  # fmt: skip
    assert (content["stable"]["accuracy"], content["candidate"]["accuracy"]) == (1.0, pytest.approx(89 / 90, abs=1e-6))
    # 1,000 requests of 1,000 and 100 tokens at 2 and 10 a million; 80 ms at 3.60 an hour.
    assert (content["stable"]["cost_per_1000"], content["candidate"]["cost_per_1000"]) == (3.0, 0.08)
    assert (content["stable"]["latency_ms"]["p50"], content["candidate"]["latency_ms"]["p50"]) == (900.0, 90.0)
    assert content["hashes"]["schema"] == world.project.schema_version.sha256
    assert content_hash(comparison.content) == comparison.sha256 == content["sha256"]
    assert comparison.sha256 in client.get(f"{address}certificate.md").content.decode()
    with pytest.raises(Refused):
        services.issue(comparison=comparison, user=world.manager)


def test_a_candidate_that_is_worse_is_not_certified(world: World, deployed: Deployment) -> None:
    traffic(deployed, range(30), wrong=set(range(0, 30, 5)))
    first, second = (planned(deployed, world, documents=30, measure="document", margin=0.1) for _ in range(2))
    # Each further candidate has a smaller alpha.
    attempts = [(comparison.plan["attempt"], comparison.plan["alpha"]) for comparison in (first, second)]
    assert attempts == [(number, alpha_level(number)) for number in (1, 2)]
    label(world, first)
    result = ComparisonStatus(first).labels.result
    assert result.difference == pytest.approx(-0.2)
    assert (result.is_shown, result.is_bounded) == (False, False)
    # Labels of imports do not count.
    Gold.objects.filter(document__in=first.pairs.values("document")).update(origin=Origin.IMPORTED)
    assert ComparisonStatus(first).labels.result.pairs == 0


def test_field_accuracy_is_another_measure_and_a_failure_has_no_output(world: World, deployed: Deployment) -> None:
    traffic(deployed, range(20), wrong={1, 2}, failed=5)
    by_field = planned(deployed, world, measure="field")
    label(world, by_field)
    result = ComparisonStatus(by_field).labels.result
    assert result.after == pytest.approx(1 - (2 * 0.25 + 1) / 20)


def test_a_fixed_number_is_read_once_and_for_good(world: World, deployed: Deployment) -> None:
    traffic(deployed, range(30), wrong=set(range(0, 30, 4)))
    comparison = planned(deployed, world, documents=30, method="fixed", margin=0.05)
    label(world, comparison, 29)
    assert ComparisonStatus(comparison).may_issue is False
    label(world, comparison)
    assert services.issue(comparison=comparison, user=world.manager).verdict == "not_shown"


def test_families_are_those_of_the_callers(world: World, deployed: Deployment) -> None:
    traffic(deployed, range(12))
    for number in range(12):
        RequestLog.objects.filter(text__startswith=f"Invoice N-{number} ").update(caller=f"customer-{number % 3}")
    comparison = planned(deployed, world, family="caller")
    label(world, comparison)
    result = ComparisonStatus(comparison).labels.result
    assert (result.pairs, result.families) == (12, 3)
    assert "customer-1" not in set(comparison.pairs.values_list("family", flat=True))


def test_the_planner_says_beforehand_how_many(world: World, deployed: Deployment) -> None:
    assert needed_documents(deployed)["differing"] is None  # type: ignore[index]
    traffic(deployed, range(20), wrong={0, 1})
    plan = needed_documents(deployed)
    assert plan is not None
    assert (plan["available"], plan["differing"], plan["alpha"]) == (20, 0.1, alpha_level(1))
    needed = [number or 10**6 for _, number in plan["by_margin"]]
    assert needed == sorted(needed, reverse=True)


def test_the_gate_on_non_inferiority_compares_with_what_is_deployed(world: World, deployment: Deployment) -> None:
    gates = [{"key": "margin", "metric": "non_inferiority", "operator": ">=", "threshold": 0.6,
              "compared_with": "production"}]  # fmt: skip
    assert deployment.stable is not None
    first = deployment.stable.report
    assert first is not None
    production = deployment_queries.production_model(world.project)
    assert production is not None
    assert (production.key, production.mode) == (first.eval_run.backend.key, first.eval_run.mode)
    set_policy(project=world.project, user=world.manager, gates=gates)
    world.training_run, world.version = make_version(world.project, world.engineer, world.dataset, world.base_model)
    EvalRun.objects.update(opened_at=None)
    candidate = evaluated(world, right, is_open=False)
    report = create_report(eval_run=candidate, baseline=None, user=world.engineer)
    assert report.production_run is not None
    assert report.production_run.training_run == first.eval_run.training_run
    assert "version 1" in report.production["source"]
    [certificate] = gate_certificates.of_project(world.project)
    assert (certificate.report, certificate.status) == (report, "PASS")
    shadow = deployment_services.deploy(
        project=world.project, user=world.engineer, stage="shadow", run=candidate
    ).candidate
    assert shadow is not None
    assert [certificate.report for certificate in gate_certificates.of_release(shadow)] == [report]
    client = Client()
    client.force_login(world.annotator)
    for page in ("/p/invoices/deploy/", "/p/invoices/deploy/comparisons/", report.get_absolute_url()):
        assert f"gates/{report.number}/" in client.get(page).content.decode(), page
    assert report.production["outputs_sha256"] in client.get(f"{report.get_absolute_url()}report.md").content.decode()

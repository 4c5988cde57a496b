"""Measuring again what an evaluation takes: needs no label, keeps no answer, spends nothing of the hold-out."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from evaluation.approvals import decisions
from evaluation.approvals.warnings import warnings
from evaluation.endpoints import permits
from evaluation.gates import manifest
from evaluation.gates.holdout.evaluation_numbers import earlier_reports, next_evaluation_number, trained_candidates
from evaluation.gates.services import create_report
from evaluation.models import Endpoint, EvalOutput, EvalRun, GateReport, ResourceMeasurement
from evaluation.runs import resources
from evaluation.runs.resource_jobs import run_measurement
from evaluation.runs.resources import start_measurement
from labeling.models import Contract
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from tests.evaluation.factories import World, endpoint, evaluated, rewrite, right
from tests.evaluation.fake_openai import says, sends
from tests.evaluation.gates.test_services import verdict_of
from tests.evaluation.runs.test_external_model import ended, start


def measured(
    run: EvalRun, world: World, latency_ms: float, user: User | None = None, **facts: Any
) -> ResourceMeasurement:
    """A finished measurement in which every document took so long."""
    row = start_measurement(run=run, user=user or world.engineer)
    assert row.claim_attempt()
    keys = EvalOutput.objects.filter(eval_run=run).values_list("document_id", flat=True)
    event = {"latency_ms": latency_ms, "prompt_tokens": 100, "output_tokens": 40}
    requests = [resources.request_of(key, event) for key in keys]
    resources.complete(row, requests=requests, facts={"docs_per_second": 1000 / latency_ms, "device": "cpu", **facts})
    return ResourceMeasurement.objects.get(pk=row.pk)


def test_gates_on_what_a_run_takes_use_the_newest_measurement_in_the_same_look(world: World) -> None:
    Contract.objects.filter(project=world.project).update(
        constraints={"latency_p95_ms": 400, "hardware_memory_gb": 2, "cost_per_request": 1, "requests_per_second": 1}
    )
    run = evaluated(world, right, latency_ms=lambda index: 5000.0)
    first = create_report(eval_run=run, baseline=None, user=world.engineer)
    assert verdict_of(first, "latency").status == "FAIL"
    measured(run, world, 900.0, peak_memory_bytes=1e9)
    newest = measured(run, world, 300.0, peak_memory_bytes=3e9)
    second = create_report(eval_run=run, baseline=None, user=world.engineer)
    assert second.pk != first.pk
    assert (second.holdout_number, second.measurement) == (first.holdout_number, newest)
    latency = verdict_of(second, "latency")
    assert (latency.measured, verdict_of(second, "memory").measured) == (300, 3)
    assert latency.status != "FAIL"
    assert create_report(eval_run=run, baseline=None, user=world.engineer).pk == second.pk
    assert [row["measured"] for row in second.verdicts if row["gate"]["key"] == "schema-valid"] == [1.0]
    # Measuring until it passes is disclosed.
    assert "measurement 2 of this evaluation" in latency.sentence
    assert not any("measured again" in warning for warning in warnings(second))
    measured(run, world, 950.0)
    assert any("report uses measurement 2 of 3" in warning for warning in warnings(second))
    again = evaluated(world, right)
    rewrite(again, rescored_from=run)
    again.refresh_from_db()
    stale = create_report(eval_run=again, baseline=None, user=world.engineer)
    assert verdict_of(stale, "latency").status == "NOT PROVEN", "scored again it was not measured afresh"
    measured(again, world, 1.0)
    assert verdict_of(create_report(eval_run=again, baseline=None, user=world.engineer), "latency").measured == 1


def test_changed_weights_are_not_measured(world: World) -> None:
    run = evaluated(world, right)
    (artifacts.local_path(world.version.folder_key) / "model.safetensors").write_bytes(b"others")
    row = start_measurement(run=run, user=world.engineer)
    run_measurement(row.pk)
    row.refresh_from_db()
    assert (row.status, "have changed" in row.error) == (Status.FAILED, True)


def test_a_measurement_is_no_look_and_leaves_nothing_that_was_answered(world: World) -> None:
    run = evaluated(world, right)
    create_report(eval_run=run, baseline=None, user=world.engineer)
    before = EvalRun.objects.count(), EvalOutput.objects.count(), GateReport.objects.count()
    row = measured(run, world, 300.0)
    assert (EvalRun.objects.count(), EvalOutput.objects.count(), GateReport.objects.count()) == before
    assert len(earlier_reports(run)) == len(trained_candidates(run)) == 1
    assert next_evaluation_number(evaluated(world, right)) == 2
    assert set(row.requests[0]) == {"document", "latency_ms", "prompt_tokens", "output_tokens", "finish_reason"}
    assert row.latency["p95"] == 300


def test_the_packet_has_the_measurement_and_notices_a_change(world: World) -> None:
    run = evaluated(world, right)
    row = measured(run, world, 300.0)
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    assert report.manifest["measurement"] == row.sha256
    assert [check.name for check in manifest.verify(report) if not check.equal] == []
    rewrite(row, requests=[{**request, "latency_ms": 1.0} for request in row.requests])
    report = GateReport.objects.get(pk=report.pk)
    assert [check.name for check in manifest.verify(report) if not check.equal] == ["measurement"]
    assert any("Measurement" in reason for reason in decisions.changed_since(report))


def test_only_what_is_done_can_be_measured_and_once_at_a_time(world: World) -> None:
    run = evaluated(world, right)
    first = start_measurement(run=run, user=world.engineer)
    assert start_measurement(run=run, user=world.owner).pk == first.pk
    rewrite(run, status=Status.FAILED)
    first.cancel()
    run.refresh_from_db()
    with pytest.raises(Refused, match="is not finished"):
        start_measurement(run=run, user=world.engineer)


def test_an_endpoint_is_asked_again_and_only_what_that_took_is_kept(world: World, fake: Any) -> None:
    external = endpoint(world, fake.url)
    permits.grant(endpoint=external, user=world.owner)
    run = ended(start(world, external, split="holdout"))
    asked = len(fake.asked)
    fake.replies = [says("not even JSON")]
    row = start_measurement(run=run, user=world.engineer)
    run_measurement(row.pk)
    row.refresh_from_db()
    assert (row.status, row.error, len(fake.asked) - asked) == (Status.DONE, "", 12)
    assert (len(row.requests), row.facts["price_out"], row.latency["n"]) == (12, 10.0, 12)
    assert not artifacts.local_path(f"{row.folder_key}/outputs.jsonl").exists()
    assert EvalRun.objects.get(pk=run.pk).scores == run.scores
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    assert report.measurement == row
    fake.replies = [sends(b"{}", status=401)]
    refused = start_measurement(run=run, user=world.engineer)
    run_measurement(refused.pk)
    refused.refresh_from_db()
    assert (refused.status, bool(refused.error)) == (Status.FAILED, True)
    waiting = start_measurement(run=run, user=world.engineer)
    permits.withdraw(endpoint=external, user=world.owner)
    asked = len(fake.asked)
    run_measurement(waiting.pk)
    waiting.refresh_from_db()
    assert (waiting.status, len(fake.asked)) == (Status.FAILED, asked), "without the permit nothing is sent"
    with pytest.raises(Refused, match="permit"):
        start_measurement(run=run, user=world.engineer)


def test_an_endpoint_that_is_asked_otherwise_now_is_not_measured(world: World, fake: Any) -> None:
    external = endpoint(world, fake.url)
    run = ended(start(world, external))
    changes: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"reasoning_effort": "high"}, {"reasoning_effort": external.reasoning_effort}, "reasoning effort"),
        ({"max_tokens": 4096}, {"max_tokens": external.max_tokens}, "token limit"),
    ]
    for change, before, words in changes:
        Endpoint.objects.filter(pk=external.pk).update(**change)
        with pytest.raises(Refused, match=words):
            start_measurement(run=run, user=world.engineer)
        Endpoint.objects.filter(pk=external.pk).update(**before)
    row = start_measurement(run=run, user=world.engineer)
    run_measurement(row.pk)
    row.refresh_from_db()
    assert (row.facts["max_new_tokens"], row.facts["reasoning_effort"]) == (external.max_tokens, None)


def test_the_button_stands_on_the_evaluation_and_the_report(world: World, client: Client) -> None:
    run = evaluated(world, right)
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    client.force_login(world.engineer)
    address = f"{run.get_absolute_url()}measure/"
    for page in (run.get_absolute_url(), report.get_absolute_url()):
        assert f'action="{address}' in client.get(page).content.decode()
    answer = client.post(f"{address}?report={report.number}")
    assert answer["Location"] == f"{report.get_absolute_url()}#resources"
    [row] = ResourceMeasurement.objects.all()
    part = client.get(f"{address}?report={report.number}", headers={"HX-Request": "true"})
    assert 'hx-trigger="every 2s"' in part.content.decode()
    assert client.post(f"{address}cancel/").status_code == 302
    row.refresh_from_db()
    assert row.status == Status.CANCELLED
    measured(run, world, 300.0)
    page = client.get(report.get_absolute_url()).content.decode()
    assert 'name="eval_run" value="1"' in page
    judged = client.post(f"/p/{world.project.slug}/gates/new/", {"eval_run": run.number, "baseline": ""})
    assert judged["Location"].endswith("/gates/2/")

"""Packages with several engines, building again, and deploying one of the engines."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django_rq
import pytest
from django.test import Client

from evaluation.models import GateReport
from serving.deployments import services as deployments
from serving.models import Deployment, Package
from serving.packages import jobs
from serving.packages.services import build_again, choices, pack_spec, request_package
from serving.packages.spec import PackSpec
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_manifest
from tests.evaluation.encoders import make_encoder
from tests.evaluation.factories import World
from tests.labeling.api_client import api_of
from tests.serving.factories import approved_report, built
from tests.shared_rows import shared_fixture
from training.models import ModelExport

PARITY = {
    "documents": 20, "equal": 19, "fields": 80, "different_fields": 1, "accuracy": 0.95, "evaluated_accuracy": 0.96,
    "max_loss": 0.04, "difference_low": -0.05, "difference_high": 0.01, "engine": "llama.cpp 1",
}  # fmt: skip
TWO = ["llama_cpp-f16", "llama_cpp-q8_0"]


@shared_fixture
def report(world: World) -> GateReport:
    """An approved report of a model with both GGUF files."""
    for kind in ("f16", "q8_0"):
        folder = local_path(f"exports/{kind}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.gguf").write_bytes(f"GGUF {kind}".encode())
        ModelExport.objects.create(
            model_version=world.version, kind=kind, status=Status.DONE, folder_key=f"exports/{kind}",
            files=folder_manifest(folder),
        )  # fmt: skip
    return approved_report(world)


def child(name: str, spec: Path, log: Path, *, run: Package, on_event: Any, also: Any) -> None:
    """The build: the second variant cannot be served."""
    pack = PackSpec.from_yaml(spec.read_text())
    first, *others = pack.variants
    folder = Path(pack.output_dir)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "model").mkdir(parents=True)
    (folder / "serve.yaml").write_text(
        f"engine: {first.engine}\ncontract: {{instruction: Extract., schema: {{}}}}\n"
        f"output_tokens: {{reserved: 40, maximum: 60}}\ngguf: {first.name}\nname: {pack.name}\n"
    )
    on_event({"event": "parity", "variant": first.key, **PARITY})
    for other in others:
        on_event({"event": "variant_failed", "variant": other.key, "message": "It does not load."})


def code_of(work: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        work()
    return caught.value.field, caught.value.code


def test_every_engine_that_can_serve_the_model_is_a_choice(report: GateReport, settings: Any, world: World) -> None:
    problems = {choice.key: bool(choice.problem) for choice in choices(report.eval_run)}
    assert problems == {
        "transformers": False, "vllm": True, "llama_cpp-f16": False, "llama_cpp-q8_0": False, "ollama-f16": True,
        "ollama-q8_0": True,
    }  # fmt: skip
    settings.VLLM_COMMAND, settings.OLLAMA_URL = "vllm", "http://127.0.0.1:11434"
    assert not any(choice.problem for choice in choices(report.eval_run))


def test_a_package_with_two_files_has_the_parity_of_each(
    world: World, report: GateReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = build_again(run=report.eval_run, user=world.engineer, variants=TWO)
    spec = pack_spec(package)
    assert [(variant.key, variant.engine, variant.name) for variant in spec.variants] == [
        ("llama_cpp-f16", "llama_cpp", "model-f16.gguf"), ("llama_cpp-q8_0", "llama_cpp", "model-q8_0.gguf"),
    ]  # fmt: skip
    assert len({variant.gguf.sha256 for variant in spec.variants if variant.gguf}) == 2
    assert spec.name == f"invoices-{spec.model.sha256[:12]}"
    monkeypatch.setattr(jobs, "run_child", child)
    jobs.build_package(package.pk)
    package.refresh_from_db()
    assert package.status == Status.DONE, package.error
    first, second = package.all_variants
    assert (first.parity["equal"], first.problem, second.parity, second.problem) == (19, "", {}, "It does not load.")
    assert first.difference == pytest.approx(-0.01)
    # A variant that failed is no variant to deploy: another package is built for it.
    assert request_package(run=report.eval_run, user=world.engineer, engine="llama_cpp-f16") == package
    assert request_package(run=report.eval_run, user=world.engineer, engine="llama_cpp-q8_0") != package


def test_an_encoder_that_passes_is_packaged_before_other_jobs(
    world: World, queues: None, django_capture_on_commit_callbacks: Any
) -> None:
    django_rq.get_queue("gpu").enqueue("a training")
    make_encoder(world)
    with django_capture_on_commit_callbacks(execute=True):
        passed = approved_report(world, decision="")
    package = Package.objects.get()
    assert (package.eval_run, package.created_by, package.engine) == (passed.eval_run, world.engineer, "encoder")
    assert django_rq.get_queue("gpu").job_ids[0] == str(package.job_id)
    assert request_package(run=passed.eval_run, user=world.manager) == package


def test_a_decoder_is_packaged_when_it_is_deployed(world: World) -> None:
    approved_report(world)
    assert not Package.objects.exists()


def test_a_rebuilt_package_serves_after_the_next_deployment(world: World, report: GateReport) -> None:
    deployment = deployments.deploy(project=world.project, user=world.engineer, stage="full", report=report)
    assert deployment.candidate is not None
    first = built(deployment.candidate.package)  # type: ignore[arg-type]
    deployments.finish_promotion(deployment)
    again = build_again(run=report.eval_run, user=world.engineer, variants=["transformers", *TWO])
    assert (again.number, again.status) == (first.number + 1, Status.QUEUED)
    field, code = code_of(lambda: build_again(run=report.eval_run, user=world.engineer, variants=TWO))
    assert (field, code) == ("variants", "busy")
    again = built(again)
    stable = Deployment.objects.get().stable
    assert stable is not None
    assert stable.package == first  # until it is deployed again
    after = deployments.deploy(project=world.project, user=world.engineer, stage="full", report=report)
    assert after.candidate is not None
    assert (after.candidate.package, after.candidate.variant, after.candidate.number) == (again, "", 2)


def test_an_engine_without_a_file_is_that_of_the_evaluation(world: World, report: GateReport) -> None:
    package = built(build_again(run=report.eval_run, user=world.engineer, variants=[*reversed(TWO), "transformers"]))
    options: Any = {"project": world.project, "user": world.engineer, "stage": "full", "report": report}
    for engine, variant in (("", "transformers"), ("llama_cpp", "llama_cpp-f16"), ("llama_cpp-q8_0", "")):
        deployment = deployments.deploy(**options, engine=engine)
        assert deployment.candidate is not None
        assert (deployment.candidate.package, deployment.candidate.variant) == (package, variant)
        deployments.abort(deployment=deployment, user=world.engineer, reason="Next.")
    deployments.deploy(**options, engine="llama_cpp-q8_0")
    assert code_of(lambda: deployments.deploy(**options, engine="llama_cpp-f16"))[1] == "busy"


def test_what_cannot_be_built(world: World, report: GateReport) -> None:
    def build(*variants: str) -> tuple[str, str]:
        return code_of(lambda: build_again(run=report.eval_run, user=world.engineer, variants=variants))

    assert build() == ("variants", "variants")
    assert build("vllm") == ("variants", "no_server")
    assert build("ollama-q8_0") == ("variants", "no_server")
    assert build("abacus") == ("variants", "")
    world.training_run.facts = {"hybrid": {"fields": []}}
    world.training_run.save()
    report.eval_run.refresh_from_db()
    assert build("llama_cpp-q8_0") == ("variants", "no_server")
    assert [item.key for item in choices(report.eval_run) if not item.problem] == ["transformers"]
    assert not Package.objects.exists()


def test_the_page_and_rest_build_again(world: World, report: GateReport) -> None:
    package = built(build_again(run=report.eval_run, user=world.engineer, variants=TWO))
    Package.objects.update(variants=[{**variant, "parity": PARITY} for variant in package.variants])
    client = Client()
    client.force_login(world.engineer)
    page = client.get("/p/invoices/deploy/packages/", headers={"HX-Request": "true"})
    assert page.status_code == 200
    assert [package.number for group in page.context["groups"] for package in group["packages"]] == [1]
    assert b"engine=llama_cpp-q8_0" in page.content
    assert client.get("/p/invoices/deploy/packages/")["Location"] == "/p/invoices/deploy/?show=packages#packages"
    assert client.post("/p/invoices/deploy/packages/1/build/").status_code == 422
    assert client.post("/p/invoices/deploy/packages/1/build/", {"variants": TWO}).status_code == 302
    api = api_of(world.project, world.engineer, "deploy")
    [newest, first] = api.get("packages").json["packages"]
    assert (newest["status"], first["status"], newest["package"]) == ("queued", "done", 2)
    assert [variant["key"] for variant in first["variants"]] == TWO
    assert float(first["variants"][0]["difference"]) == pytest.approx(-0.01)
    assert api.post("packages", {"report": report.number, "variants": TWO}).status == 409
    Package.objects.filter(number=2).update(status=Status.CANCELLED)
    assert api.post("packages", {"report": report.number, "variants": ["abacus"]}).status == 422
    assert api.post("packages", {"report": report.number, "variants": TWO}).json["package"] == 3

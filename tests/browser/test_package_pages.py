"""The packages of a model: an engineer builds one with several engines, and deploys one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from serving.models import Package
from serving.packages.services import build_again
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_manifest
from tests.browser.accessibility import check
from tests.evaluation.factories import World, make_world
from tests.serving.factories import approved_report, built
from tests.serving.packages.test_services import PARITY
from training.models import ModelExport

pytestmark = pytest.mark.slow

As = Callable[[Any], Page]


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def finished(package: Package) -> None:
    """The package as its job leaves it: one engine could not be served."""
    rows = [{**one, "parity": PARITY} for one in package.variants]
    if len(rows) > 1:
        rows[-1] |= {
            "parity": {},
            "problem": "The engine does not apply the schema: it wrote 'A word.'.",
        }
    files = [{"path": "package.json.sig", "size": 2_000_000, "sha256": "0" * 64}]
    Package.objects.filter(pk=package.pk).update(variants=rows, files=files)
    built(package)


def test_build_again_and_deploy_an_engine(world: World, logged_in: As, settings: Any) -> None:
    settings.VLLM_COMMAND = "vllm"
    folder = local_path("exports/q8_0")
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"GGUF")
    ModelExport.objects.create(
        model_version=world.version, kind="q8_0", status=Status.DONE, folder_key="exports/q8_0",
        files=folder_manifest(folder),
    )  # fmt: skip
    report = approved_report(world)
    finished(build_again(run=report.eval_run, user=world.engineer, variants=["transformers"]))
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/")
    erik.locator("#packages > summary").click()
    expect(erik.get_by_role("heading", name="Package 1", exact=True)).to_be_visible()
    erik.get_by_text("Build again").click()
    for name in ("vLLM", "llama.cpp, GGUF q8_0"):
        erik.get_by_label(name, exact=True).check()
    expect(erik.get_by_label("Ollama, GGUF q8_0", exact=False)).to_be_disabled()
    check(erik, "packages-build")
    erik.get_by_role("button", name="Build").click()
    expect(erik.locator("#package-2 .badge")).to_have_text("Queued")
    package = Package.objects.get(number=2)
    assert [one.key for one in package.all_variants] == ["transformers", "vllm", "llama_cpp-q8_0"]
    finished(package)
    expect(erik.locator("#package-2 .badge")).to_have_text("Done")  # the page asks by itself
    expect(erik.locator("#package-2 tbody tr")).to_have_count(3)
    check(erik, "packages")
    size = erik.viewport_size
    assert size is not None
    erik.set_viewport_size({"width": 390, "height": 844})
    erik.evaluate("scrollTo(0, 0)")
    check(erik, "packages-phone")
    erik.set_viewport_size(size)
    erik.locator("#package-2 tr", has_text="vLLM").get_by_role("link", name="Deploy").click()
    expect(erik.locator("#deploy").get_by_label("Engine")).to_have_value("vllm")

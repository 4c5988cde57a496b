"""The end of the demo: its encoder passes the gates, is approved and deployed, and answers documents that it never saw.
``tests/stack/test_serve.py`` starts the programs of the demo."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client

from evaluation.management.commands import setup_demo
from evaluation.models import GateReport, PipelineRun
from evaluation.pipeline.services import start_pipeline
from labeling.datasets.freeze import freeze
from labeling.demo.samples import Sample, generate
from labeling.models import Project
from serving.models import Deployment, Package
from serving.replicas.supervisor import HostSupervisor
from slmstudio.contract.json_text import loads
from tests.conftest import ROOT, Workers, worker_environment
from tests.evaluation.pipeline.test_setup_demo import add_base_model
from tests.forked_children import WORKER
from tests.stack.test_serve import free_port
from tests.training.ml_data import minilm
from training.hyperparameters.dataset_defaults import default_hyperparameters

pytestmark = pytest.mark.slow


@pytest.fixture
def gateway(settings: Any, tmp_path: Path, transactional_db: None) -> Iterator[None]:
    """A gateway process that answers for the test database."""
    port = free_port()
    settings.GATEWAY_URL = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}"]
    with (tmp_path / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=worker_environment(), stdout=log, stderr=subprocess.STDOUT)
    yield
    process.terminate()
    process.wait(60)


@contextmanager
def replicas(wait_for: Callable[..., None]) -> Iterator[None]:
    """Replicas of what is deployed run on this host; it answers when the block begins."""
    supervisor = HostSupervisor()

    def is_stable() -> bool:
        supervisor.step()
        return Deployment.objects.get().stable_id is not None

    try:
        wait_for(is_stable)
        yield
    finally:
        supervisor.stop()


@pytest.fixture
def report(
    idle_workers: Workers, forked_children: None, settings: Any, tmp_path: Path, wait_for: Callable[..., None]
) -> GateReport:
    """Of MiniLM after a little more than an epoch on the demo's invoices, where the demo has eight. It is evaluated on
    the hold-out only, and its package is built."""
    settings.HOME = tmp_path
    call_command("setup_demo", "--no-loop", stdout=StringIO(), stderr=StringIO())
    project, engineer = Project.objects.get(), get_user_model().objects.get(username="erik")
    dataset = freeze(
        project=project, user=engineer, seed=setup_demo.SEED,
        validation_share=0.0, holdout_share=setup_demo.HOLDOUT_SHARE,
    )  # fmt: skip
    encoder = add_base_model("minilm", minilm(), "encoder")
    assert setup_demo.Command(stderr=StringIO())._has_lengths(dataset, encoder, engineer)
    hyperparameters = replace(
        default_hyperparameters(dataset=dataset, base_model=encoder, method="full"),
        epochs=1.25, learning_rate=2e-4, batch_size=4, accumulation=1, precision="fp32",
    )  # fmt: skip
    start_pipeline(project=project, user=engineer, dataset=dataset, base_model=encoder, hyperparameters=hyperparameters)
    idle_workers.start("gpu", options=WORKER)
    wait_for(lambda: not PipelineRun.objects.get().is_live, seconds=500, message=idle_workers.text)
    wait_for(lambda: Package.objects.get().is_ready, seconds=200, message=idle_workers.text)
    return GateReport.objects.get()


def steps(client: Client) -> list[str]:
    """The addresses of the next steps on the Overview."""
    return [step.url for step in client.get("/p/invoices/").context["steps"]]


@pytest.mark.timeout(900)
def test_the_encoder_of_the_demo_passes_and_answers(
    report: GateReport, gateway: None, wait_for: Callable[..., None], tmp_path: Path
) -> None:
    assert {verdict["status"] for verdict in report.verdicts} == {"PASS", "INAPPLICABLE"}, report.verdicts
    [without] = [verdict["gate"]["key"] for verdict in report.verdicts if verdict["status"] == "INAPPLICABLE"]
    assert without == "no-regression"  # nothing is deployed yet
    manager = Client()
    manager.force_login(get_user_model().objects.get(username="mona"))
    page = report.get_absolute_url()
    assert steps(manager)[0] == page
    decision = {"decision": "approved", "reason": "Every gate passes."}
    assert manager.post(f"{page}decide/", decision).status_code == 302
    assert steps(manager)[0] == "/p/invoices/deploy/?report=1#deploy"
    assert manager.post("/p/invoices/deploy/new/", {"report": "1", "stage": "full"}).status_code == 302
    with replicas(wait_for):
        assert steps(manager)[0] == "/p/invoices/deploy/#try"
        plain = list(islice((sample for sample in generate(100, seed=4) if not sample.tags), 3))
        answers: list[Any] = []

        def is_answered() -> bool:  # a gateway on a busy machine notices replicas a moment later than the page
            answers.append(manager.post("/p/invoices/deploy/try/", {"text": plain[0].text}))
            return bool(answers[-1].status_code == 200)

        wait_for(is_answered)
        assert answers[-1].context["answer"]["output"] == plain[0].gold, answers[-1].content.decode()
        assert extracted(tmp_path, plain)[plain[0].external_id] == plain[0].gold
    assert [action.url for action in manager.get(page).context["actions"]] == ["/p/invoices/deploy/#try"]


def extracted(folder: Path, samples: list[Sample]) -> dict[str, Any]:
    """The outputs of ``manage.py extract`` by the ids of the documents."""
    documents = [json.dumps({"id": sample.external_id, "text": sample.text}) for sample in samples]
    (folder / "in.jsonl").write_text("\n".join(documents))
    call_command(
        "extract", project="invoices", input=folder / "in.jsonl", output=folder / "out.jsonl", stdout=StringIO()
    )
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert len(rows) == len(samples)
    return {row["id"]: loads(row["raw"]) for row in rows}

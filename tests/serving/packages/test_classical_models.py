"""A classical model as a package: built, deployed and answered by real child processes."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.approvals.decisions import decide
from evaluation.classical import services as classical
from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.gates.services import create_report
from evaluation.models import EvalOutput, EvalRun, GateReport
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.services import start_evaluation
from labeling.datasets import queries as dataset_queries
from labeling.models import Split
from serving.comparisons.labels import training_texts
from serving.deployments import queries, services
from serving.models import Deployment, Package, Stage
from serving.packages.jobs import build_package
from serving.packages.services import choices, request_package
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import sha256_text
from tests.evaluation.factories import World, right
from tests.evaluation.factories import evaluated as evaluated_model
from tests.serving.ml.test_replica import client, replica

pytestmark = pytest.mark.slow


def evaluated(world: World) -> EvalRun:
    """The simplest classical model of the world, on its hold-out."""
    kind = classical.kinds(world.dataset.schema_version)[0]
    model = classical.get_or_create(project=world.project, user=world.engineer, dataset=world.dataset, kind=kind)
    run = start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, model=model, split=Split.HOLDOUT,
        confirm_holdout=True,
    )  # fmt: skip
    run_evaluation(run.pk)
    ended = EvalRun.objects.with_model().get(pk=run.pk)
    assert (ended.status, ended.error) == (Status.DONE, "")
    return ended


def approved(world: World, run: EvalRun) -> GateReport:
    policy = gates_of(current_policy(project=world.project)).to_json()
    gates = [gate for gate in policy["gates"] if gate["key"] == "memory"]
    set_policy(project=world.project, user=world.manager, gates=gates)
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    decide(report=report, user=world.manager, decision="approved", reason="Small and good enough.")
    return report


def test_a_classical_model_is_packaged_deployed_and_answers(world: World, tmp_path: Path) -> None:
    run = evaluated(world)
    assert [choice.key for choice in choices(run)] == ["sklearn"]
    for wanted, engine in ((run, "llama_cpp"), (run, "transformers"), (evaluated_model(world, right), "sklearn")):
        with pytest.raises(Refused) as refused:
            request_package(run=wanted, user=world.engineer, engine=engine)
        assert refused.value.code == "other_model"
    report = approved(world, run)
    assert queries.approved_reports(world.project) == [report]
    assert queries.engine_choices([run]) == [("sklearn", "scikit-learn")]
    deployment = services.deploy(project=world.project, user=world.engineer, stage=Stage.FULL, report=report)
    candidate = deployment.candidate
    assert candidate is not None
    assert candidate.package is not None
    build_package(candidate.package.pk)
    package = Package.objects.with_content().get(pk=candidate.package.pk)
    assert (package.status, package.error) == (Status.DONE, "")
    assert (package.parity["equal"], package.parity["documents"]) == (12, 12)
    assert package.variant("sklearn") is not None

    folder = local_path(package.folder_key)
    names = {entry["path"] for entry in package.files}
    assert {"model/model.json", "model/arrays.safetensors", "serve.yaml", "evidence/approval.json"} <= names
    assert not {"vllm.sh", "extract.pyz", "Modelfile"} & names
    card = (folder / "README.md").read_text()
    assert ("library_name: sklearn" in card, "vllm" in card) == (True, False)
    bom = json.loads((folder / "bom.json").read_text())
    assert {"scikit-learn", "numpy"} <= {component["name"] for component in bom["components"]}
    assert "base-model" not in str(bom)

    document = EvalOutput.objects.filter(eval_run=run).select_related("document").order_by("pk")[0]
    (tmp_path / "package").symlink_to(folder)
    with replica(tmp_path, sha256=package.sha256), client(tmp_path) as http:
        answer: dict[str, Any] = http.post("/answer", json={"text": document.document.text}).json()
    assert (answer["raw"], answer["finish_reason"], answer["output_tokens"]) == (document.raw, "stop", 0)
    assert set(answer["confidence"]) >= set(json.loads(document.raw)) - {"lines"}

    services.finish_promotion(deployment)
    stable = Deployment.objects.with_releases().get().stable
    assert stable is not None
    sent = {sha256_text(row["text"]) for row in dataset_queries.rows(world.dataset, Split.TRAIN)}
    assert sent <= training_texts(stable)

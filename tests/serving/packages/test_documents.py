"""The documents of a package, its manifest and its signature."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization as formats
from cryptography.hazmat.primitives.asymmetric import ec
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from evaluation.models import GateReport
from serving.deployments import services
from serving.engines import PROGRAM, REQUIREMENTS
from serving.models import Package, Replica
from serving.packages import jobs
from serving.packages.documents import recipes
from serving.packages.documents.manifest import verify_signature
from serving.packages.documents.services import write_documents
from serving.packages.services import request_package
from serving.packages.spec import FILE, PackSpec
from serving.replicas.supervisor import HostSupervisor
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import changed_files, folder_hash
from tests.evaluation.factories import World
from tests.serving.factories import approved_report
from training.models import BaseModel

PARITY = {"documents": 3, "equal": 2, "accuracy": 0.9, "evaluated_accuracy": 0.95, "max_loss": 0.1}
PROMPT = {
    "gguf": "model.gguf", "prefix": 'system {{x}} """\n', "suffix": "<|im_end|>", "first_text": "<|im_start|>",
}  # fmt: skip
SERVE = """engine: {engine}
contract: {{instruction: Extract., schema: {{}}}}
output_tokens: {{reserved: 40, maximum: 60}}
context: 4096
"""


def child(name: str, spec: Path, log: Path, *, run: Package, on_event: Any, also: Any = ()) -> None:
    """What the child process leaves: the files of a package, and its event."""
    pack = PackSpec.from_yaml(spec.read_text())
    folder = Path(pack.output_dir)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    offline = pack.variants[0].engine == "llama_cpp"
    (folder / "model").mkdir()
    if not offline:
        (folder / "model/model.safetensors").write_bytes(b"weights")
    gguf = "gguf: model.gguf\n" if offline else ""
    (folder / FILE).write_text(SERVE.format(engine=pack.variants[0].engine) + gguf)
    (folder / "model.gguf").write_bytes(b"GGUF")
    if offline:
        (folder / "prompt.json").write_text(json.dumps(PROMPT))
        (folder / PROGRAM).write_text("")
    on_event({"event": "parity", **PARITY})


@pytest.fixture
def package(world: World, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package of an approved evaluation whose job waits."""
    report = approved_report(world)
    monkeypatch.setattr(jobs, "run_child", child)
    return request_package(run=report.eval_run, user=world.engineer)


def built(package: Package) -> Path:
    jobs.build_package(package.pk)
    package.refresh_from_db()
    assert package.status == Status.DONE, package.error
    return local_path(package.folder_key)


def keys(folder: Path, name: str = "key") -> tuple[str, str]:
    """A private and a public key as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    plain = formats.NoEncryption()
    private.write_bytes(key.private_bytes(formats.Encoding.PEM, formats.PrivateFormat.PKCS8, plain))
    public.write_bytes(key.public_key().public_bytes(formats.Encoding.PEM, formats.PublicFormat.SubjectPublicKeyInfo))
    return str(private), str(public)


def code_of(package: Package) -> str:
    with pytest.raises(Refused) as caught:
        verify_signature(package)
    return caught.value.code


def test_the_manifest_and_the_evidence_cover_every_file(world: World, package: Package) -> None:
    folder = built(package)
    manifest = json.loads((folder / "package.json").read_text())
    assert package.sha256 == folder_hash(folder)
    recorded = {entry["path"]: entry["sha256"] for entry in package.files}
    assert {entry["path"]: entry["sha256"] for entry in manifest["files"]} == {
        path: sha256 for path, sha256 in recorded.items() if path != "package.json"
    }
    assert {"README.md", "bom.json", "vllm.sh", "evidence/approval.json", "evidence/parity.json"} <= set(recorded)
    report = GateReport.objects.get()

    def read(name: str) -> Any:
        return json.loads((folder / "evidence" / name).read_text())

    assert read("parity.json") == PARITY
    approval = read("approval.json")
    assert (approval["approved"], approval["report"], approval["decided_by"]) == (True, report.number, "mona")
    assert (approval["manifest"], approval["manifest_sha256"]) == (report.manifest, report.approval.manifest_sha256)
    assert read("hashes.json")["schema"] == world.dataset.schema_version.compiled.hash
    assert read("evaluation.json")["scores"]["field_exact"]["rate"] == 1.0
    assert changed_files(folder) == []
    (folder / "README.md").write_text("Changed.")
    assert changed_files(folder) == ["README.md"]


def offline_documents(world: World, package: Package, folder: Path) -> Path:
    """The documents of a llama.cpp package."""
    package.engine, package.variants = "llama_cpp", []
    folder /= "offline"  # the folder of a test may hold the weights of its world
    folder.mkdir()
    (folder / FILE).write_text(SERVE.format(engine="llama_cpp") + "gguf: model.gguf\n")
    (folder / "prompt.json").write_text(json.dumps(PROMPT))
    (folder / PROGRAM).write_text("")
    write_documents(package, folder, PARITY)
    return folder


def test_the_card_has_metadata_for_hubs_and_other_servers_get_files(
    world: World, package: Package, tmp_path: Path
) -> None:
    BaseModel.objects.update(reference="org/small")
    package = Package.objects.with_content().get()
    folder = offline_documents(world, package, tmp_path)
    values = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    [result] = values["model-index"][0]["results"]
    assert result["dataset"]["split"] == "holdout"
    assert {metric["type"]: metric["value"] for metric in result["metrics"]}["field_exact"] == 1.0
    assert values["base_model"] == "org/small"
    modelfile = (folder / "Modelfile").read_text()
    assert modelfile.count('"""') == 2
    assert '<|im_start|>system {{ "{{" }}x}} {{ "\\"\\"\\"" }}\n{{ .Prompt }}<|im_end|>' in modelfile
    assert "PARAMETER num_ctx 4096" in modelfile
    pins = (folder / "requirements.txt").read_text().split()
    assert [pin.split("==")[0] for pin in pins] == list(REQUIREMENTS)
    [service] = yaml.safe_load((folder / "compose.yaml").read_text())["services"].values()
    assert service["ports"] == [f"127.0.0.1:{recipes.PORT}:{recipes.PORT}"]
    assert (folder / "Dockerfile").read_text().startswith("FROM python:3.")
    assert not (folder / "vllm.sh").exists()


def test_the_bill_of_materials_is_valid(world: World, package: Package, tmp_path: Path) -> None:
    schemas = pytest.importorskip("cyclonedx.schema._res")
    folder = Path(schemas.__path__[0])
    resources = []
    for path in folder.glob("*.schema.json"):
        content = json.loads(path.read_text())
        resources.append((content.get("$id", path.name), Resource.from_contents(content)))
    registry: Any = Registry().with_resources(resources)
    schema = json.loads((folder / "bom-1.6.SNAPSHOT.schema.json").read_text())
    validator = Draft7Validator(schema, registry=registry)
    bom = json.loads((offline_documents(world, package, tmp_path) / "bom.json").read_text())
    assert [error.message for error in validator.iter_errors(bom)] == []
    assert list(validator.iter_errors({**bom, "specVersion": 1})), "the schema is in force"
    refs = [component["bom-ref"] for component in bom["components"]]
    assert len(refs) == len(set(refs))
    assert bom["dependencies"][0]["dependsOn"] == refs
    assert bom["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]


def test_signed_packages_are_verified(package: Package, settings: Any, tmp_path: Path) -> None:
    settings.PACKAGE_SIGNING_KEY, public = keys(tmp_path)
    folder = built(package)
    verify_signature(package)  # with the public half of the private key
    settings.PACKAGE_SIGNING_KEY, settings.PACKAGE_PUBLIC_KEY = "", public
    verify_signature(package)
    settings.PACKAGE_PUBLIC_KEY = keys(tmp_path, "other")[1]
    assert code_of(package) == "signature"
    settings.PACKAGE_PUBLIC_KEY = public
    manifest = (folder / "package.json").read_text()
    (folder / "package.json").write_text(manifest.replace("0", "1", 1))
    assert code_of(package) == "signature"
    (folder / "package.json").write_text(manifest)
    package.files[0]["sha256"] = "0" * 64
    assert code_of(package) == "manifest"


def test_the_build_fails_where_the_key_cannot_be_read(package: Package, settings: Any) -> None:
    settings.PACKAGE_SIGNING_KEY = "/nowhere/key.pem"
    jobs.build_package(package.pk)
    package.refresh_from_db()
    assert package.status == Status.FAILED
    assert "PACKAGE_SIGNING_KEY" in package.error


def test_the_supervisor_starts_no_unsigned_package(
    world: World, package: Package, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(package)
    verify_signature(package)  # no key is set
    services.deploy(project=world.project, user=world.engineer, stage="full", report=GateReport.objects.get())
    settings.PACKAGE_PUBLIC_KEY = keys(tmp_path)[1]
    assert code_of(package) == "unsigned"

    def start(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("serving.replicas.supervisor.ReplicaProcess", start)
    supervisor = HostSupervisor()
    supervisor.step()
    supervisor.step()
    row = Replica.objects.get()
    assert (row.state, row.starts) == (Replica.State.FAILED, 0)
    assert "not signed" in row.error

"""Packages and the replicas that answer for them, with real engines."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from evaluation.ml import generate
from serving.confidence.calibration import ConfidenceCalibration, DocumentRecord
from serving.ml import pack
from serving.ml.engines.engine import DecodingEngine
from serving.ml.loading import check_enforcement
from serving.packages.spec import FILE, PackSpec, PackVariant, ServeSpec
from serving.replicas.protocol import SECRET_VARIABLE, ModelOutput
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash, sha256_file
from tests.conftest import ROOT
from tests.evaluation import tiny_gguf
from tests.evaluation.ml.test_backends import COPIED, by_id, run, spec
from tests.serving import event_loop
from tests.training.ml_data import SCHEMA, EventCollector, named, rows, tiny
from training.spec import ModelRef

pytestmark = pytest.mark.slow


def packed(folder: Path, engine: Literal["transformers", "llama_cpp"], **changes: Any) -> dict[str, Any]:
    """Evaluates the tiny model and packs it; gives the parity event. The package is in ``folder/package``."""
    [parity] = named(packed_events(folder, engine, **changes), "parity")
    return parity


def packed_events(
    folder: Path,
    engine: Literal["transformers", "llama_cpp"],
    *,
    key: str = "",
    variants: Any = (),
    labeled: bool = False,
    **changes: Any,
) -> Any:
    """The same; gives all events. ``key``, ``variants``: as in PackSpec. ``labeled``: with documents to calibrate its
    confidence."""
    changes = {"max_new_tokens": 40, **changes}
    outputs = by_id(run(folder, child=generate, **changes))
    parity = folder / "parity.jsonl"
    known = {row["id"]: row for row in rows()}
    parity.write_text(
        "".join(
            dumps({"id": name, "text": known[name]["text"], "raw": output["raw"], "gold": known[name]["gold"]}) + "\n"
            for name, output in outputs.items()
        )
    )
    gguf = None
    if engine == "llama_cpp":
        file = tiny_gguf.write(tiny(), folder / "tiny.gguf")
        gguf = ModelRef(path=str(file), sha256=sha256_file(file))
    calibration = folder / "calibration.jsonl"
    calibration.write_text("".join(dumps({"text": row["text"], "gold": row["gold"]}) + "\n" for row in rows()))
    package = PackSpec(
        evaluation=spec(folder, **changes),
        model=ModelRef(path=str(tiny()), sha256=folder_hash(tiny())),
        output_dir=str(folder / "package"),
        parity=str(parity),
        variants=(PackVariant(key=key, engine=engine, gguf=gguf, name="model.gguf"), *variants),
        calibration=str(calibration) if labeled else "",
    )
    events = EventCollector()
    event_loop.in_thread(lambda: pack.main(PackSpec.from_yaml(package.to_yaml()), events.emitter))
    return events.events


@contextlib.contextmanager
def replica(
    folder: Path, *, secret: str = "", sha256: str = "", slots: int = 2, variant: str = ""
) -> Iterator["subprocess.Popen[str]"]:
    """A replica of the package on ``folder/r.sock``; it answers when the block begins."""
    command = [sys.executable, "-m", "serving.ml.replica", str(folder / "package"), "--slots", str(slots)]
    command += ["--address", f"unix:{folder}/r.sock", "--sha256", sha256, "--variant", variant]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, SECRET_VARIABLE: secret},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        event = json.loads(process.stdout.readline() or "{}")
        assert event.get("event") == "ready", (event, process.stderr.read() if process.stderr else "")
        yield process
    finally:
        process.kill()
        process.communicate()


def client(folder: Path, secret: str = "") -> httpx.Client:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    transport = httpx.HTTPTransport(uds=str(folder / "r.sock"))
    return httpx.Client(transport=transport, base_url="http://replica", headers=headers, timeout=60)


@pytest.mark.parametrize(("engine", "mode"), [("transformers", "constrained"), ("llama_cpp", "grounded")])
def test_a_package_answers_as_its_evaluation_did(tmp_path: Path, engine: Any, mode: str) -> None:
    parity = packed(tmp_path, engine, mode=mode, schema=COPIED)
    # Random weights: where two tokens are equally likely, the engines round differently.
    assert (parity["documents"], parity["fields"]) == (3, 6)
    assert parity["equal"] >= (3 if engine == "transformers" else 1)
    assert parity["max_loss"] < 0.7  # an interval of three documents is wide
    served = ServeSpec.from_yaml((tmp_path / "package" / FILE).read_text())
    assert (served.engine, served.mode, served.output_tokens.maximum) == (engine, mode, 40)
    weights = (tmp_path / "package/model/model.safetensors").exists()
    assert weights == (engine == "transformers")


def test_labeled_documents_calibrate_the_confidence(tmp_path: Path) -> None:
    packed(tmp_path, "llama_cpp", labeled=True)
    stored = json.loads((tmp_path / "package/evidence/calibration.json").read_text())
    records = [DocumentRecord.from_json(record) for record in stored["records"]]
    assert stored["documents"] == len(records) == len(list(rows()))
    values = [value for record in records for value in record.fields]
    assert values
    assert {value.pattern for value in values} <= {"invoice_id", "total"}
    assert stored["summary"]["values"] == len(values)
    assert all(0 < value.calibrated < 1 for value in values)
    calibration = ConfidenceCalibration(stored["fits"])
    assert set(calibration.fits) <= {"", " null"}
    # A model with random weights is wrong everywhere, however probable its tokens are.
    assert max(value.calibrated for value in values) < 0.5 or any(value.is_correct for value in values)


def test_a_package_with_several_engines_answers_over_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_URL", raising=False)
    file = tiny_gguf.write(tiny(), tmp_path / "tiny.gguf")
    gguf = ModelRef(path=str(file), sha256=sha256_file(file))
    name = "model-f16.gguf"
    variants = tuple(PackVariant(key=f"{key}-f16", engine=key, gguf=gguf, name=name) for key in ("llama_cpp", "ollama"))
    events = packed_events(tmp_path, "transformers", key="transformers", variants=variants)
    parity = {event["variant"]: event for event in named(events, "parity")}
    assert list(parity) == ["transformers", "llama_cpp-f16"]
    assert parity["transformers"]["difference_low"] <= 0 <= parity["transformers"]["difference_high"]
    assert [event["variant"] for event in named(events, "variant_failed")] == ["ollama-f16"]
    spec = ServeSpec.from_yaml((tmp_path / "package" / FILE).read_text())
    assert (spec.of_variant("llama_cpp-f16").engine, spec.of_variant("llama_cpp-f16").gguf) == ("llama_cpp", name)
    with pytest.raises(Refused) as caught:
        spec.of_variant("vllm")
    assert caught.value.code == "variant"
    assert (tmp_path / "package/model/model.safetensors").exists()
    assert (tmp_path / "package/extract.pyz").exists()
    sha256 = folder_hash(tmp_path / "package")
    with (
        replica(tmp_path, secret="s3cret", sha256=sha256, variant="llama_cpp-f16") as process,
        client(tmp_path, "s3cret") as caller,
    ):
        health = caller.get("/health").json()
        assert health["state"] == "ready"
        assert (health["identity"]["package"], health["identity"]["variant"]) == (sha256, "llama_cpp-f16")
        assert health["identity"]["engine"].startswith("llama.cpp")
        check_answers(caller)
        with client(tmp_path, "wrong") as stranger:
            assert stranger.post("/answer", json={"text": "a"}).status_code == 401
            assert stranger.post("/drain").status_code == 401
            assert stranger.get("/metrics").status_code == 401
            assert stranger.get("/health").json() == {"state": "ready"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def check_answers(caller: httpx.Client) -> None:
    """Documents, one that is read in windows, and requests that are none."""
    for row in list(rows())[:3]:
        answer = ModelOutput.parse(caller.post("/answer", json={"text": row["text"]}).json())
        assert answer.finish_reason == "stop"
        assert compile_schema(SCHEMA).check(answer.raw)[1] == []
        assert set(answer.confidence) <= {"invoice_id", "total"}
        assert {len(probabilities) for probabilities in answer.confidence.values()} == {3}
        assert answer.model_ms > 0
    long = ModelOutput.parse(caller.post("/answer", json={"text": "again and again " * 200}).json())
    assert (long.code, long.error) == ("", "")
    assert caller.post("/answer", json={"text": 5}).status_code == 422
    assert caller.post("/answer", content=b"{").status_code == 422


def test_a_changed_package_is_not_served(tmp_path: Path) -> None:
    packed(tmp_path, "transformers")
    sha256 = folder_hash(tmp_path / "package")
    file = tmp_path / "package" / FILE
    file.write_text(file.read_text().replace("mode: constrained", "mode: free"))
    command = [sys.executable, "-m", "serving.ml.replica", str(tmp_path / "package"), "--sha256", sha256]
    done = subprocess.run(
        [*command, "--address", f"unix:{tmp_path}/r.sock"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, json.loads(done.stdout)["kind"]) == (2, "package")


class Fake:
    """An engine that writes what it likes."""

    version = "fake 1"

    def __init__(self, output: str) -> None:
        self.output = output

    async def answer_prompt(self, prompt: str, schema: str, tokens: int) -> str:
        return self.output or dumps({"nonce": json.loads(schema)["properties"]["nonce"]["const"]})


def test_an_engine_that_ignores_the_schema_is_not_served() -> None:
    def probe(output: str) -> None:
        engine: DecodingEngine = Fake(output)  # type: ignore[assignment]
        event_loop.run(check_enforcement(engine))

    probe("")
    for output in ("A word.", '{"nonce": "a"}', '{"nonce": '):
        with pytest.raises(Refused) as caught:
            probe(output)
        assert caught.value.code == "enforcement"

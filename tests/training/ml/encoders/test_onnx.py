"""A trained encoder as an ONNX file: the scores of torch, and refusals of files that do not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.errors import Refused
from tests.training.ml.encoders.test_output_decoder import SCHEMA, TEXT
from tests.training.ml_data import tiny_encoder
from tests.training.model_folders import made_once
from training.encoders.heads import plan_heads, trained_heads
from training.ml.encoders.folder import HEADS, HeadsDescription
from training.ml.encoders.onnx_scorer import FILES, OnnxPrecision, load_onnx_predictor
from training.ml.encoders.predictor import load_predictor

LONG = "Ada Lovelace 3 March 2026 total 5.50 " * 60


def compiled() -> CompiledSchema:
    properties: Any = SCHEMA["properties"]
    scales = {"stars": {"enum": [1, 2, 3]}, "mood": {"enum": [None, 1, 2, 3, 4]}}
    required = [*properties, "stars"]
    return compile_schema({**SCHEMA, "properties": {**properties, **scales}, "required": required})


def untrained(folder: Path) -> None:
    """The tiny encoder with random heads of every kind."""
    import torch
    from safetensors.torch import save_file

    from training.ml.encoders.network import EncoderWithHeads
    from training.ml.encoders.task import load_base

    shutil.copytree(tiny_encoder(), folder, dirs_exist_ok=True)
    heads = trained_heads(plan_heads(compiled()))
    longest = {head.pattern: 4 + number for number, head in enumerate(heads) if head.kind == "span"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = EncoderWithHeads(load_base(folder), heads, longest)
    save_file({name: value.detach().contiguous() for name, value in network.head_state().items()}, folder / HEADS)
    HeadsDescription(schema_sha256=compiled().hash, window=64, longest=longest).save(folder, heads)


def exported() -> Path:
    def make(folder: Path) -> None:
        from training.ml.encoders.onnx_export import export_onnx

        untrained(folder / "trained")
        export_onnx(folder / "trained", compiled(), folder, list(FILES))

    return made_once("exported-tiny-encoder", make)


def test_an_exported_encoder_has_the_scores_of_torch() -> None:
    folder = exported()
    exact = load_predictor(folder / "trained", compiled())
    distances: dict[OnnxPrecision, float] = {"fp32": 1e-4, "int8": 0.2}
    for precision, distance in distances.items():
        predictor = load_onnx_predictor(folder, compiled(), precision=precision)
        for text in (LONG, TEXT, ""):
            windows = exact.windows(text)
            assert predictor.windows(text) == windows
            # In int8 windows are computed one by one, and none is padded.
            calls = [[window] for window in windows] if precision == "int8" else [windows]
            wanted_scores = [scores for call in calls for scores in exact.scorer.scores(call)]
            for wanted, made in zip(wanted_scores, predictor.scorer.scores(windows), strict=True):
                assert set(wanted) == set(made) >= {"spans", "none", "decision.0", "decision.3", "tags.1"}
                for name, scores in wanted.items():
                    np.testing.assert_allclose(made[name], scores, atol=distance)
    sizes = [(folder / name).stat().st_size for name in FILES.values()]
    assert sizes[0] < 0.7 * sizes[1]  # the graph is half of so small a file


def test_outputs_of_random_weights_are_valid() -> None:
    predictor = load_onnx_predictor(exported(), compiled(), precision="fp32")
    made = [json.loads(predictor.predict(text).text) for text in (LONG, TEXT, "a 1 b 2\nc 3")]
    assert any(output["items"] for output in made)
    assert not any(compiled().validate(output) for output in made)


def test_heads_of_another_width_are_refused(tmp_path: Path) -> None:
    """As those of a folder that was trained without the choices of rows."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "copy"
    shutil.copytree(exported() / "trained", folder)
    weights = load_file(folder / HEADS)
    rows = {name: value[:6].contiguous() for name, value in weights.items() if name.startswith("tag_heads.1.")}
    assert rows
    save_file(weights | rows, folder / HEADS)
    with pytest.raises(Refused, match=r"does not fit the heads of the contract: tag_heads\.1\.") as caught:
        load_predictor(folder, compiled())
    assert caught.value.code == "model"


def copy_of(folder: Path, target: Path, **changes: Any) -> Path:
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("trained"))
    description = json.loads((target / "heads.json").read_text())
    (target / "heads.json").write_text(json.dumps(description | changes))
    return target


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"longest": {"number": 4, "total": 5, "day": 9_000}}, "does not fit"),
    ({"longest": {"number": 4, "total": 5, "day": 3_000_000_000}}, "not valid"),
    ({"longest": {"number": "many", "total": 5, "day": 6}}, "not valid"),
    ({"longest": {}}, "not valid"),
    ({"window": 10**30}, "not valid"),
    ({"window": 1}, "not valid"),
    ({"window": "64"}, "not valid"),
    ({"spelling": {"number": {"rules": ["rm"], "known": {}}}}, "not valid"),
    ({"spelling": {"number": {"rules": [], "known": {"a": 1}}}}, "not valid"),
    ({"usual": {"number": 3}}, "not valid"),
    ({"left_out": ["number"]}, "does not fit"),
    ({"left_out": "number"}, "not valid"),
    ({"format": 2}, "format is unknown"),
    ({"surprise": 1}, "surprise: is unknown"),
    ({"schema_sha256": None}, "not valid"),
]


@pytest.mark.parametrize(("changes", "problem"), HOSTILE)
def test_a_description_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    folder = copy_of(exported(), tmp_path / "copy", **changes)
    with pytest.raises(Refused, match=problem):
        load_onnx_predictor(folder, compiled())


def test_files_that_are_no_exported_encoder_are_refused(tmp_path: Path) -> None:
    folder = copy_of(exported(), tmp_path / "copy")
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(Refused, match=r"model\.onnx cannot be loaded"):
        load_onnx_predictor(folder, compiled())
    (folder / "heads.json").write_text("[" * 100_000)
    with pytest.raises(Refused, match="not valid"):
        load_onnx_predictor(folder, compiled())

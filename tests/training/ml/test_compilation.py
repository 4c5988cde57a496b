"""Compiled layers: the result of eager ones, for rows of any length, also where they cannot be compiled."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from training.ml.loop.trainer import summed_loss
from training.ml.modeling.attention import blockwise_attention
from training.ml.modeling.compilation import CompiledLayers, can_compile, is_worth_compiling
from training.ml.modeling.tiny_model import build_tiny


def test_a_short_training_is_not_worth_it() -> None:
    receipts = 4 * 248_624
    assert is_worth_compiling(134_515_008, receipts)
    assert not is_worth_compiling(134_515_008, receipts / 40)
    assert not is_worth_compiling(100_000, receipts)


@pytest.mark.parametrize("missing", ["compiler", "headers"])
def test_what_the_compiler_needs(missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "c++"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setenv("CXX", str(program))
    assert can_compile()
    (program if missing == "compiler" else tmp_path / "Python.h").unlink()
    assert not can_compile()


def rows(length: int, count: int) -> dict[str, Any]:
    torch.manual_seed(length)
    ids = torch.randint(5, 100, (count, length))
    return {"input_ids": ids, "labels": torch.where(torch.arange(length) < length // 2, -100, ids)}


def gradients(model: Any, length: int, count: int = 1) -> list[torch.Tensor]:
    model.zero_grad()
    with blockwise_attention(model.config):
        summed_loss(model, rows(length, count)).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    torch.compiler.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "code"))
    build_tiny(tmp_path / "tiny")
    return AutoModelForCausalLM.from_pretrained(tmp_path / "tiny", dtype=torch.float32)


@pytest.mark.slow
def test_gradients_are_those_of_eager_layers(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.utils import counters

    if not can_compile():
        pytest.skip("no C++ compiler")
    shapes = [(70, 1), (33, 1), (150, 1), (41, 3), (90, 2)]
    expected = [gradients(model, *shape) for shape in shapes]
    compiled = CompiledLayers(model, tmp_path / "code")
    counters.clear()
    with compiled.in_use():
        found = [gradients(model, *shape) for shape in shapes]
    for one, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-4, atol=1e-5)
    assert list((tmp_path / "code").rglob("*.so")), "nothing was compiled"
    assert 0 < counters["stats"]["unique_graphs"] < 10, "compiled once for a row and once for several, not per length"
    assert all("forward" not in vars(layer) for layer in model.model.layers)

    # A resumed run compiles for another length first, and must have the same result.
    torch.compiler.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "other"))
    with CompiledLayers(model, tmp_path / "other").in_use():
        again = [gradients(model, *shape) for shape in reversed(shapes)]
    for one, wanted in zip(reversed(again), found, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, wanted, strict=True))


@pytest.mark.slow
def test_without_a_working_compiler_layers_are_eager(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/bin/false",))
    expected = gradients(model, 77)
    with CompiledLayers(model, tmp_path / "code").in_use():
        found = gradients(model, 77)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not list((tmp_path / "code").rglob("*.so"))

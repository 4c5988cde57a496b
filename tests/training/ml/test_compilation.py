"""Compiled layers: the result of eager ones, for rows of any length, also where they cannot be compiled."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._functorch.config
import torch._inductor.config
from transformers import AutoModelForCausalLM

from tests.training.ml_data import tiny
from training.ml.loop.trainer import summed_loss
from training.ml.modeling import compilation
from training.ml.modeling.attention import blockwise_attention
from training.ml.modeling.compilation import CompiledLayers, can_compile, compiled_layers, is_worth_compiling
from training.ml.modeling.compute_weights import ComputeWeights, linear_layers

GIB = 2**30


def test_a_short_training_is_not_worth_it() -> None:
    receipts = 4 * 248_624
    assert is_worth_compiling(134_515_008, receipts)
    assert not is_worth_compiling(134_515_008, receipts / 40)
    assert not is_worth_compiling(100_000, receipts)


def test_what_the_compiler_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "c++"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setenv("CXX", str(program))
    assert can_compile(GIB * 10)
    assert not can_compile(GIB * 8)
    assert not can_compile(None)
    for missing in (program, tmp_path / "Python.h"):
        missing.rename(tmp_path / "away")
        assert not can_compile(GIB * 10)
        (tmp_path / "away").rename(missing)


def rows(length: int, count: int) -> dict[str, Any]:
    torch.manual_seed(length)
    ids = torch.randint(5, 100, (count, length))
    return {"input_ids": ids, "labels": torch.where(torch.arange(length) < length // 2, -100, ids)}


def gradients(model: Any, shape: tuple[int, int], *used: AbstractContextManager[None]) -> list[torch.Tensor]:
    """Of rows of a length, a number of them, with what the model uses in a training step."""
    model.zero_grad()
    with ExitStack() as stack:
        for context in (blockwise_attention(model.config), *used):
            stack.enter_context(context)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = summed_loss(model, rows(*shape))
        loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    torch.compiler.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "code"))
    model = AutoModelForCausalLM.from_pretrained(tiny(), dtype=torch.float32, num_hidden_layers=1)
    model.train()
    faster = torch._inductor.config.patch({"cpp_cache_precompile_headers": True})
    with torch._dynamo.config.patch(suppress_errors=False), faster:
        yield model


@pytest.mark.slow
def test_gradients_are_those_of_eager_layers(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_compile(GIB * 100):
        pytest.skip("no C++ compiler")
    weights = ComputeWeights(linear_layers(model), torch.bfloat16)
    # For several rows other code is made, which takes as long again.
    monkeypatch.setattr(compilation, "_TRIED", ((1, 40),))
    shapes = [(70, 1), (33, 1), (150, 1)]
    expected = [gradients(model, shape, weights.in_use()) for shape in shapes]
    compiled = compiled_layers(model, torch.autocast("cpu", dtype=torch.bfloat16), weights.in_use())
    assert compiled is not None
    assert all(parameter.grad is None for parameter in model.parameters()), "trying it has no effect"
    made = graphs()
    computed = [gradients(model, shape, weights.in_use(), compiled.in_use()) for shape in shapes]
    assert graphs() == made, "nothing is compiled again for another length"
    for of_shape, wanted in zip(computed, expected, strict=True):
        for gradient, eager in zip(of_shape, wanted, strict=True):  # bf16 is rounded at other places
            assert float((gradient - eager).norm()) < 0.02 * float(eager.norm())
    assert list((tmp_path / "code").rglob("*.so"))
    assert all("forward" not in vars(layer) for layer in model.model.layers)

    # A resumed run compiles anew, and sees other lengths first. Only C++ that is the same is not compiled again.
    torch.compiler.reset()
    again = CompiledLayers(model)
    with (
        torch._inductor.config.patch({"fx_graph_cache": False}),
        torch._functorch.config.patch(enable_autograd_cache=False),
    ):
        resumed = [gradients(model, shape, weights.in_use(), again.in_use()) for shape in (shapes[2], shapes[0])]
    assert graphs() > made
    for of_shape, wanted in zip(resumed, (computed[2], computed[0]), strict=True):
        assert all(torch.equal(*pair) for pair in zip(of_shape, wanted, strict=True))


def graphs() -> int:
    """How many were compiled so far."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["compiler", "off"])
def test_layers_are_not_compiled_where_it_fails(model: Any, broken: str) -> None:
    state = torch.random.get_rng_state()
    off = torch._dynamo.config.patch(disable=True)  # as by TORCH_COMPILE_DISABLE
    with torch._inductor.config.patch({"cpp.cxx": ("/bin/false",)}) if broken == "compiler" else off:
        assert compiled_layers(model) is None
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all("forward" not in vars(layer) for layer in model.model.layers)

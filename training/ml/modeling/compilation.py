"""Compiled decoder layers for training on a CPU.

Between the matrix products of a layer stand norms, activations, rotary embeddings and conversions, each a pass over
memory of its own. torch's compiler (Inductor) makes few loops of them. Attention (``attention``) stays as it is.

It needs a C++ compiler and the headers of Python. Without them, and where compiling fails, layers run as usual.
``TORCH_COMPILE_DISABLE=1`` turns it off. ``training.ml`` sets where compiled code is kept.
"""

import logging
import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from training.estimates.memory import USABLE_SHARE
from training.ml.modeling.attention import blockwise_attention, exclude_from_compilation

logger = logging.getLogger(__name__)
#: Operations of a training (floating point) from which compiling is worth its minute and a half: some ten minutes.
WORTH_COMPILING = 1.5e14
#: operations per parameter and token: two in the forward pass, four in the backward pass
_PER_PARAMETER = 6
#: measured at the peak of SmolLM2: 0.4 to 0.8 GB more than eager layers
_COMPILER_BYTES = 800_000_000
#: rows and tokens of the micro-batches that are compiled before training: the compiler makes other code for one row
_TRIED = ((1, 40), (2, 24))


def is_worth_compiling(parameters: int, tokens: float) -> bool:
    """Whether a training on ``tokens`` tokens, all epochs together, is long enough."""
    return _PER_PARAMETER * parameters * tokens >= WORTH_COMPILING


def can_compile(memory: int | None) -> bool:
    """Whether this machine has what the compiler needs. ``memory``: bytes that a run can use at most.

    The compiler's own memory must fit into what estimates leave to the system.
    """
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    has_room = memory is not None and memory * (1 - USABLE_SHARE) >= _COMPILER_BYTES
    return has_room and shutil.which(os.environ.get("CXX", "g++")) is not None and headers.is_file()


class CompiledLayers:
    """The decoder layers of a model, compiled for rows of any length; see ``compiled_layers``."""

    def __init__(self, model: nn.Module) -> None:
        exclude_from_compilation()
        layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
        self._forwards: list[tuple[nn.Module, Any]] = [
            (layer, torch.compile(layer.forward, dynamic=True)) for layer in layers
        ]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The model uses its compiled layers inside."""
        for layer, forward in self._forwards:
            layer.forward = forward
        try:
            yield
        finally:
            for layer, _ in self._forwards:
                del layer.forward


def compiled_layers(model: Any, *used: AbstractContextManager[Any]) -> CompiledLayers | None:
    """The compiled layers of a model, None where it cannot be compiled.

    They are compiled here by forward and backward passes without an effect, so that a failure does not end a training.
    ``used`` is what a training step uses: autocast, copies of weights. Takes a minute and a half, and 15 seconds
    where the code is there from an earlier run.
    """
    from torch._dynamo import config
    from torch._dynamo.utils import counters

    compiled = CompiledLayers(model)
    before = counters["stats"]["unique_graphs"]
    was_training, state = model.training, torch.random.get_rng_state()
    model.train()
    try:
        with ExitStack() as stack:
            for context in (*used, blockwise_attention(model.config), compiled.in_use()):
                stack.enter_context(context)
            for rows, length in _TRIED:
                ids = torch.arange(rows * length).view(rows, length)
                model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    except Exception:
        logger.warning("The layers are not compiled.", exc_info=True)
        return None
    finally:
        model.zero_grad(set_to_none=True)
        model.train(was_training)
        torch.random.set_rng_state(state)
    config.suppress_errors = True  # what is compiled later and cannot be runs as usual
    return compiled if counters["stats"]["unique_graphs"] > before else None

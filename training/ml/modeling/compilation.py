"""Compiled decoder layers for training on a CPU.

Between the matrix products of a layer stand norms, activations, rotary embeddings and conversions, each a pass over
memory of its own. torch's compiler (Inductor) makes few loops of them. Attention (``attention``) stays as it is.

It needs a C++ compiler and the headers of Python; where they are missing, or a model cannot be compiled, layers run as
usual. ``TORCH_COMPILE_DISABLE=1`` turns it off.
"""

import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

#: Operations of a training (floating point) from which compiling is worth its half a minute: some five minutes.
WORTH_COMPILING = 5e13
#: operations per parameter and token: two in the forward pass, four in the backward pass
_PER_PARAMETER = 6


def is_worth_compiling(parameters: int, tokens: float) -> bool:
    """Whether a training on ``tokens`` tokens, all epochs together, is long enough."""
    return _PER_PARAMETER * parameters * tokens >= WORTH_COMPILING


def can_compile() -> bool:
    """Whether this machine has what the compiler needs."""
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return shutil.which(os.environ.get("CXX", "g++")) is not None and headers.is_file()


class CompiledLayers:
    """The decoder layers of a model, compiled at their first use, for any length of the rows."""

    def __init__(self, model: nn.Module, cache: Path) -> None:
        """``cache``: a folder of this user in which compiled code is kept for later runs."""
        from torch._dynamo import config

        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))  # by default a folder that others can make first
        # In this process: workers would take memory until the end of the run.
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        config.suppress_errors = True  # what cannot be compiled runs as usual
        layers = [one for one in model.modules() if isinstance(one, GradientCheckpointingLayer)]
        self._forwards: list[tuple[nn.Module, Any]] = [
            (one, torch.compile(one.forward, dynamic=True)) for one in layers
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

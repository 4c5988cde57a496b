"""A trained encoder as an ONNX file, which ONNX Runtime computes without torch, on servers and in browsers.

Inputs and outputs are those of ``EncoderWithHeads.forward``, with any batch and any number of tokens. In int8 the
weights are whole numbers with a scale for each output channel, and activations get one scale for all windows of a call
when they are computed: compute windows one by one, or the answer for a document depends on the others
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

import contextlib
import io
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slmstudio.contract.schema.compiled import CompiledSchema
from training.ml.encoders.folder import DESCRIPTION, HeadsDescription
from training.ml.encoders.onnx_scorer import FILES, INPUTS, OnnxPrecision
from training.ml.encoders.predictor import load_network
from training.ml.encoders.task import load_tokenizer

#: batch and tokens of the example that is traced; the exporter takes a one for a constant
_BATCH, _TOKENS = 2, 24
#: kinds of nodes whose weights get eight bits: products with weights, and embeddings
_QUANTIZED = ["MatMul", "Gather"]


class _OutputsInOrder(nn.Module):
    """The outputs as a tuple: ONNX has no dictionaries."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor, inner: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(input_ids, attention_mask, inner).values())


def export_onnx(
    folder: Path, compiled: CompiledSchema, target: Path, precisions: Sequence[OnnxPrecision] = ("int8",)
) -> None:
    """Writes the trained encoder in ``folder`` as one ONNX file for each precision into the folder ``target``, with
    what answers with them need: config.json, tokenizer.json and heads.json.

    Raises:
        Refused: the folder holds no trained encoder, or one of another schema.
    """
    description = HeadsDescription.load(folder)
    network = load_network(folder, compiled, description)
    # Fused attention is written as a dozen nodes that guard against rows without any token; there is none.
    network.encoder.set_attn_implementation("eager")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as temporary:
        exact = Path(temporary) / "exact.onnx"
        _write_exact(network, exact)
        if "int8" in precisions:
            _quantize(exact, target / FILES["int8"])
        if "fp32" in precisions:
            exact.replace(target / FILES["fp32"])
    load_tokenizer(folder).backend_tokenizer.save(str(_fresh(target / "tokenizer.json")))
    for name in ("config.json", DESCRIPTION):
        if folder != target:
            shutil.copyfile(folder / name, _fresh(target / name))


def _fresh(path: Path) -> Path:
    """The path without the file: it may be a link to that of the trained model."""
    path.unlink(missing_ok=True)
    return path


def _write_exact(network: Any, file: Path) -> None:
    """The file in fp32."""
    ids = torch.arange(_BATCH * _TOKENS).view(_BATCH, _TOKENS) % network.config.vocab_size
    mask, inner = torch.ones_like(ids), torch.ones_like(ids, dtype=torch.bool)
    mask[1, -4:], inner[1, -4:], inner[:, 0] = 0, False, False
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    with torch.inference_mode(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        names = list(network(ids, mask, inner))
        torch.onnx.export(
            _OutputsInOrder(network), (ids, mask, inner), file, input_names=list(INPUTS), output_names=names,
            dynamo=True, dynamic_shapes=dict.fromkeys(INPUTS, shape), external_data=False, verbose=False,
        )  # fmt: skip


def _quantize(exact: Path, file: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Seven bits for weights: on processors without VNNI, sums of two products of eight bits overflow.
    quantize_dynamic(
        exact, file, op_types_to_quantize=_QUANTIZED, per_channel=True, weight_type=QuantType.QInt8,
        reduce_range=True, extra_options={"MatMulConstBOnly": True},
    )  # fmt: skip

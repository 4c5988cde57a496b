"""Scores of an encoder by ONNX Runtime: neither torch nor transformers is loaded."""

import contextlib
import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from training.encoders.heads import tag_width
from training.ml.encoders.folder import HeadsDescription
from training.ml.encoders.output_decoder import Scores
from training.ml.encoders.predictor import Predictor, pad_token
from training.ml.encoders.windows import TokenWindow, window_arrays

OnnxPrecision = Literal["int8", "fp32"]
#: file of each precision in the folder of an exported encoder
FILES: dict[OnnxPrecision, str] = {"int8": "model.onnx", "fp32": "model-fp32.onnx"}
INPUTS = ("input_ids", "attention_mask", "inner")


class OnnxScorer:
    """Scores with the ONNX file of a network."""

    def __init__(self, file: Path, pad: int, threads: int, *, together: bool) -> None:
        """``pad``: the token that fills shorter windows. ``together``: several windows are computed in one call; in
        int8 they share the scales of activations, so that their scores depend on each other.

        Raises Refused where the file cannot be loaded.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        # Memory for the largest batch is not kept, nor do threads of a waiting replica keep a core busy.
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"],
                disabled_optimizers=["SkipLayerNormFusion"],  # slower on a processor than its parts, by a tenth
            )  # fmt: skip
        except Exception as error:  # its exceptions have no base class of their own
            raise Refused(f"{file.name} cannot be loaded: {str(error)[:300]}", code="model") from error
        _return_freed_memory()
        self._pad = pad
        self._together = together
        #: name -> sizes of an output without the batch; a size that varies is a name
        self.outputs: dict[str, list[Any]] = {item.name: item.shape[1:] for item in self._session.get_outputs()}
        if {item.name for item in self._session.get_inputs()} != set(INPUTS):
            raise Refused(f"{file.name} is not an exported encoder: its inputs differ.", code="model")

    def scores(self, windows: Sequence[TokenWindow]) -> list[Scores]:
        if not self._together and len(windows) > 1:
            return [score for window in windows for score in self.scores([window])]
        arrays = self._session.run(list(self.outputs), window_arrays(windows, self._pad))
        named = dict(zip(self.outputs, arrays, strict=True))
        return [{name: array[number] for name, array in named.items()} for number in range(len(windows))]


def _return_freed_memory() -> None:
    """glibc keeps the memory that loading needed in addition to the weights: 200 MB of a file of 440 MB."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def load_onnx_predictor(
    folder: Path, compiled: CompiledSchema, *, precision: OnnxPrecision = "int8", threads: int = 1
) -> Predictor:
    """A trained encoder that ``onnx_export.export_onnx`` wrote.

    Raises:
        Refused: the folder holds none, or one of another schema.
    """
    from tokenizers import Tokenizer

    description = HeadsDescription.load(folder)
    scorer = OnnxScorer(folder / FILES[precision], pad_token(folder), threads, together=precision == "fp32")
    _check_outputs(scorer.outputs, description, compiled)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Predictor(description, compiled, tokenizer, scorer)


def _check_outputs(outputs: dict[str, list[Any]], description: HeadsDescription, compiled: CompiledSchema) -> None:
    """Raises Refused where the file has not the outputs of the heads."""
    heads = description.heads(compiled)
    spans = [description.longest[head.pattern] for head in heads if head.kind == "span"]
    expected: dict[str, list[int]] = {"spans": [len(spans), max(spans)], "none": [len(spans)]} if spans else {}
    decisions = [head for head in heads if head.kind == "decision"]
    tags = [head for head in heads if head.kind in ("tags", "rows")]
    expected |= {f"decision.{number}": [len(head.classes)] for number, head in enumerate(decisions)}
    expected |= {f"tags.{number}": [tag_width(head)] for number, head in enumerate(tags)}
    fixed = {name: [size for size in sizes if isinstance(size, int)] for name, sizes in outputs.items()}
    if fixed != expected:
        raise Refused("The ONNX file does not fit the heads of the contract. Train the encoder again.", code="model")

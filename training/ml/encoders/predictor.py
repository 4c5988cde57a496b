"""A trained encoder answers documents: windows, scores, and the decoded output."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from training.ml.encoders.folder import HEADS, HeadsDescription
from training.ml.encoders.output_decoder import Scores, narrowed
from training.ml.encoders.windows import TokenWindow, line_break_of, windows_of

#: characters of a document; a longer one is refused
MAX_CHARACTERS = 1_000_000
#: tokens of the windows that are computed together
BATCH_TOKENS = 4096
#: how the error of a longer document begins
TOO_LONG = "The document has "
NO_TEXT = "There is no text in the document."


@dataclass(frozen=True)
class Prediction:
    """The output for a document in canonical JSON, and the probability of each value by its path."""

    text: str
    confidence: dict[str, float]
    tokens: int
    windows: int


class Scorer(Protocol):
    """Computes the scores of windows with a model."""

    def scores(self, windows: Sequence[TokenWindow]) -> list[Scores]:
        """The scores of each window, as numpy arrays of as many tokens as the longest of them."""


class Predictor:
    """Answers documents."""

    def __init__(self, description: HeadsDescription, compiled: CompiledSchema, tokenizer: Any, scorer: Scorer) -> None:
        """``tokenizer``: of the library ``tokenizers``. Raises Refused where the heads are of another schema or
        tokenizer."""
        if description.line_break not in (None, line_break_of(tokenizer)):
            raise Refused("heads.json is not valid: line_break is not the token of this tokenizer.", code="model")
        self._compiled = compiled
        self._window = description.window
        self._line_break = description.line_break
        self._decoder = description.decoder(compiled)
        self._tokenizer = tokenizer
        self.scorer = scorer

    def predict(self, text: str) -> Prediction:
        """The output for a document. Raises Refused for one that is too long."""
        return self.predict_together([text])[0]

    def predict_together(self, texts: Sequence[str]) -> list[Prediction]:
        """The outputs for documents; their windows are computed in batches of similar length.

        Raises:
            Refused: a document is too long.
        """
        parts = [self.windows(text) for text in texts]
        scores = iter(self.scored([window for part in parts for window in part]))
        return [
            self.prediction(text, part, [next(scores) for _ in part]) for text, part in zip(texts, parts, strict=True)
        ]

    def windows(self, text: str) -> list[TokenWindow]:
        """The windows of a document. Raises Refused (code ``length``) for one that is too long."""
        if len(text) > MAX_CHARACTERS:
            raise Refused(f"{TOO_LONG}{len(text):,} characters, more than {MAX_CHARACTERS:,}.", code="length")
        return windows_of(self._tokenizer, text, self._window, self._line_break)

    def scored(self, windows: Sequence[TokenWindow]) -> list[Scores]:
        """What ``prediction`` needs of windows, in their order; computed by length, so that little is padded."""
        order = sorted(range(len(windows)), key=lambda number: -len(windows[number].tokens))
        scores: list[Scores] = [{}] * len(windows)
        at = 0
        while at < len(order):
            longest = len(windows[order[at]].tokens)
            numbers = order[at : at + max(1, BATCH_TOKENS // longest)]
            numbers = [number for number in numbers if 2 * len(windows[number].tokens) >= longest]
            for number, score in zip(numbers, self.scorer.scores([windows[item] for item in numbers]), strict=True):
                scores[number] = narrowed(score)
            at += len(numbers)
        return scores

    def prediction(self, text: str, windows: Sequence[TokenWindow], scores: Sequence[Scores]) -> Prediction:
        """The output for a document from the scores of its windows."""
        output = self._decoder.decode(text, windows, scores)
        tokens = sum(len(window.tokens) for window in windows)
        return Prediction(self._compiled.canonical(output.value), output.confidence, tokens, len(windows))


class TorchScorer:
    """Scores with the network in torch."""

    def __init__(self, model: Any, pad: int, precision: str) -> None:
        """``precision``: bf16 or fp32."""
        self._model = model
        self._pad = pad
        self._precision = precision

    def scores(self, windows: Sequence[TokenWindow]) -> list[Scores]:
        import torch

        from training.ml.encoders.trainer import window_tensors

        device = next(self._model.parameters()).device
        tensors = {name: value.to(device) for name, value in window_tensors(windows, self._pad).items()}
        autocast = torch.autocast(device.type, torch.bfloat16) if self._precision == "bf16" else nullcontext()
        with torch.inference_mode(), autocast:
            outputs: Mapping[str, Any] = self._model(**tensors)
        arrays = {name: value.float().cpu().numpy() for name, value in outputs.items()}
        return [{name: array[number] for name, array in arrays.items()} for number in range(len(windows))]


def load_predictor(folder: Path, compiled: CompiledSchema, precision: str = "fp32") -> Predictor:
    """A trained encoder in torch.

    Raises:
        Refused: the folder holds no trained encoder, or one of another schema.
    """
    from training.ml.encoders.task import load_tokenizer
    from training.ml.hardware.device import pick_device

    description = HeadsDescription.load(folder)
    model = load_network(folder, compiled, description).to(pick_device())
    tokenizer = load_tokenizer(folder)
    scorer = TorchScorer(model, pad_token(folder), precision)
    return Predictor(description, compiled, tokenizer.backend_tokenizer, scorer)


def load_network(folder: Path, compiled: CompiledSchema, description: HeadsDescription) -> Any:
    """The trained ``EncoderWithHeads`` of a folder in fp32, ready to compute scores. Raises Refused as above."""
    from safetensors.torch import load_file

    from training.ml.encoders.network import EncoderWithHeads
    from training.ml.encoders.task import load_base

    model = EncoderWithHeads(load_base(folder), description.heads(compiled), description.longest)
    weights = load_file(folder / HEADS)
    shapes = ({(name, value.shape) for name, value in state.items()} for state in (model.head_state(), weights))
    if differing := set.symmetric_difference(*shapes):
        name, _ = min(differing)
        raise Refused(f"{HEADS} does not fit the heads of the contract: {name}. Train the encoder again.", code="model")
    model.load_state_dict(weights, strict=False)
    return model.eval()


def pad_token(folder: Path) -> int:
    """The id of the token that fills shorter windows."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return int(config.get("pad_token_id") or 0)

"""Parity check of a GGUF file on llama.cpp with its model folder, on real documents.

Token ids must be equal for every prompt and gold output, through the file's chat template as a server uses it. Greedy
outputs of both are compared and scored against gold.
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring import scorer
from slmstudio.errors import Refused
from slmstudio.text.formatting import percent
from training.ml.data.encoder import Encoder
from training.ml.lengths import EncodedRow
from training.ml.llama_cpp.runtime import Llama, answer_seconds, running, shared_tokens

EXAMPLES = 5
#: minimum share of tokens before the first difference: with fewer, the weights differ. With 8 bits, outputs may differ
#: early and still have the same values.
MIN_SHARED_TOKENS = {"f16": 0.5, "q8_0": 0.1}
#: maximum loss of field accuracy and of schema-valid outputs
MAX_ACCURACY_LOSS = 0.1
#: documents that may always be lost: of a handful, one is not significant
ALLOWED_DOCUMENTS = 2


@dataclass(frozen=True)
class ParityAnswer:
    """One output: its text, its tokens without the end token, and its latency in milliseconds."""

    text: str
    tokens: tuple[int, ...]
    milliseconds: float


@dataclass(frozen=True)
class ParityCheck:
    """The inputs of a parity check: documents, prompt and schema; ``limit``: maximum tokens of an output."""

    rows: Sequence[EncodedRow]
    instruction: str
    schema: CompiledSchema
    encoder: Encoder
    limit: int

    @property
    def context(self) -> int:
        """Tokens of the longest prompt with its output, rounded up to 256."""
        longest = max(max(len(row.prompt) + self.limit, row.length) for row in self.rows)
        return (longest // 256 + 1) * 256

    def written(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The tokens of an output without the end token."""
        return tuple(token for token in tokens if token not in self.encoder.stop_ids)


Progress = Callable[[str, int], None]


def on_llama_cpp(
    file: Path, check: ParityCheck, progress: Progress
) -> tuple[list[ParityAnswer], dict[str, Any] | None]:
    """The outputs of the file; or none, and the first difference in token ids.

    Raises:
        Refused: llama.cpp times out.
    """
    with running(file, context=check.context) as llama:
        difference = first_difference(llama, check)
        if difference is not None:
            return [], difference
        answers = []
        for done, row in enumerate(check.rows):
            progress("answering on llama.cpp", done)
            began = time.perf_counter()
            text, tokens = _answer(llama, row, check.limit)
            elapsed = (time.perf_counter() - began) * 1000
            answers.append(ParityAnswer(text, check.written(tokens), elapsed))
        return answers, None


def _answer(llama: Llama, row: EncodedRow, limit: int) -> tuple[str, list[int]]:
    """Text and ids of a greedy output of at most ``limit`` tokens, without the end token."""
    seconds = answer_seconds(len(row.prompt), limit)
    try:
        response = llama.complete(row.prompt, limit, seconds=seconds)
    except httpx.TimeoutException as error:
        raise Refused(
            f"llama.cpp has not answered document {row.row.id} within {seconds / 60:.0f} minutes, so the file could "
            "not be checked. Try again when the machine is less busy, or on one with more cores.",
            code="llama.cpp",
        ) from error
    return str(response["content"]), list(response["tokens"])


def first_difference(llama: Llama, check: ParityCheck) -> dict[str, Any] | None:
    """The first document whose prompt or gold output has different token ids; None where all are equal."""
    encoder = check.encoder
    for row in check.rows:
        parts: dict[str, Any] = {"instruction": check.instruction, "document": row.row.text}
        text = encoder.text(**parts)
        if encoder.style == "chat":
            theirs = llama.prompt_of(encoder.chat_messages(**parts))
            if theirs != text:
                return _difference(row, "chat template", encoder, text, theirs)
        answer = check.schema.canonical(row.row.gold)
        for what, ours, ids in (
            ("prompt", row.prompt, llama.tokenize(text, start=True)),
            ("answer", row.completion[:-1], llama.tokenize(answer)),
        ):
            if ours != ids:
                return _difference(row, what, encoder, ours, ids)
    return None


def _difference(row: EncodedRow, what: str, encoder: Encoder, ours: Any, theirs: Any) -> dict[str, Any]:
    """The position where two texts or lists of ids differ, with the next few tokens of each."""
    at = shared_tokens(ours, theirs)
    shown = [
        side[at : at + 40] if isinstance(side, str) else encoder.text_with_special_tokens(side[at : at + 10])
        for side in (ours, theirs)
    ]
    return {"id": row.row.id, "what": what, "at": at, "training": shown[0], "llama_cpp": shown[1]}


def on_training_side(folder: str, check: ParityCheck, progress: Progress) -> list[ParityAnswer]:
    """The outputs of the folder, in fp32 on the CPU like llama.cpp, so that only the file can differ."""
    import torch

    from training.ml.decoding.decoder import Decoder, load

    loaded = load(folder, precision="fp32")
    decoder = Decoder(loaded, check.encoder)
    decoder.warm([row.prompt for row in check.rows])
    answers = []
    for done, row in enumerate(check.rows):
        progress("answering with transformers", done)
        answer = decoder.answer(row.prompt.copy, max_new_tokens=check.limit, with_logprobs=True)
        answers.append(ParityAnswer(answer.text, check.written(answer.tokens), answer.latency_ms))
    del decoder, loaded
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return answers


def summary(check: ParityCheck, ours: Sequence[ParityAnswer], theirs: Sequence[ParityAnswer]) -> dict[str, Any]:
    """The comparison of both sides, with a few documents with different outputs."""
    pairs = list(zip(check.rows, ours, theirs, strict=True))
    different = [pair for pair in pairs if pair[1].text != pair[2].text]
    shared = sum(shared_tokens(our.tokens, their.tokens) for _, our, their in pairs)
    written = sum(max(len(our.tokens), len(their.tokens)) for _, our, their in pairs)
    return {
        "documents": len(pairs),
        "tokens_equal": True,
        "prompts": len(pairs),
        "prompt_tokens": sum(len(row.prompt) for row in check.rows),
        "outputs_equal": len(pairs) - len(different),
        "tokens_shared": round(shared / written, 4) if written else 1.0,
        "training": _scored(check, ours),
        "llama_cpp": _scored(check, theirs),
        "examples": [
            {"id": row.row.id, "training": our.text[:2000], "llama_cpp": their.text[:2000]}
            for row, our, their in different[:EXAMPLES]
        ],
    }


def _scored(check: ParityCheck, answers: Sequence[ParityAnswer]) -> dict[str, Any]:
    scores = [
        scorer.score_document(
            check.schema,
            text=row.row.text,
            gold=row.row.gold,
            raw=answer.text,
            finish_reason="length" if len(answer.tokens) >= check.limit else "stop",
        )
        for row, answer in zip(check.rows, answers, strict=True)
    ]
    summarized = scorer.summarize(scores)
    return {
        "field_exact": summarized["field_exact"]["rate"],
        "schema_valid": summarized["schema_valid"]["rate"],
        "median_ms": round(statistics.median(answer.milliseconds for answer in answers), 1),
    }


def reproducible_summary(found: dict[str, Any]) -> dict[str, Any]:
    """A summary without measured times, so that the hash of the folder is reproducible."""
    sides = {
        side: {name: value for name, value in found[side].items() if name != "median_ms"}
        for side in ("training", "llama_cpp")
    }
    return {**found, **sides}


def check_parity(found: dict[str, Any], kind: str) -> None:
    """Raises Refused where the outputs of a file differ, or lose more accuracy than rounded weights explain."""
    advice = " Use GGUF f16 instead." if kind == "q8_0" else ""
    if found["tokens_shared"] < MIN_SHARED_TOKENS[kind]:
        raise Refused(
            f"Parity check failed: only {percent(found['tokens_shared'], 0)} of the tokens agree before the first "
            f"difference. The file was deleted.{advice}",
            code="outputs",
        )
    allowed = max(MAX_ACCURACY_LOSS, ALLOWED_DOCUMENTS / found["documents"])
    for name, words in (("field_exact", "field accuracy"), ("schema_valid", "schema-valid outputs")):
        ours, theirs = found["training"][name], found["llama_cpp"][name]
        if ours is not None and theirs is not None and round(ours - theirs, 6) > allowed:
            raise Refused(
                f"Parity check failed: {words} {percent(theirs, 0)} on llama.cpp, {percent(ours, 0)} with this model. "
                f"The file was deleted.{advice}",
                code="outputs",
            )

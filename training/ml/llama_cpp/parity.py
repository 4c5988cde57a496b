"""Holds a GGUF file on llama.cpp against the model folder it was made from, on real documents.

Token ids must be equal on every prompt and every gold answer, through the file's own chat template as a server uses it.
Greedy answers of both sides are compared and scored against gold.
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
from training.ml.data.encoder import Encoder
from training.ml.lengths import EncodedRow
from training.ml.llama_cpp.runtime import Llama, answer_seconds, running

EXAMPLES = 5
#: where a file shares fewer of its first tokens with the folder than this, its weights are not the folder's; those of
#: 8 bits may part early, and go on to the same values
LEAST_SHARED = {"f16": 0.5, "q8_0": 0.1}
#: how much of the fields right, and of the answers that fit the schema, a file may lose against the folder
MOST_LOST = 0.1
#: what so many documents weigh it may always lose: of a handful, one says little
_CHANCE = 2


@dataclass(frozen=True)
class Said:
    """One answer: its text, its tokens without the end token, and the milliseconds it took."""

    text: str
    tokens: tuple[int, ...]
    milliseconds: float


@dataclass(frozen=True)
class Question:
    """What is compared: the documents, how they are asked, and how many tokens an answer may have."""

    rows: Sequence[EncodedRow]
    instruction: str
    schema: CompiledSchema
    encoder: Encoder
    limit: int

    @property
    def context(self) -> int:
        """Tokens that the longest prompt with its answer needs, up to the next 256."""
        longest = max(max(len(one.prompt) + self.limit, one.length) for one in self.rows)
        return (longest // 256 + 1) * 256

    def written(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The tokens of an answer without the one that ended it."""
        return tuple(token for token in tokens if token not in self.encoder.stop_ids)


Progress = Callable[[str, int], None]


def on_llama_cpp(file: Path, asked: Question, progress: Progress) -> tuple[list[Said], dict[str, Any] | None]:
    """The file's answers, or none and the first prompt whose token ids differ from the training side's.

    Raises:
        Refused: llama.cpp does not answer in any reasonable time.
    """
    with running(file, context=asked.context) as llama:
        difference = first_difference(llama, asked)
        if difference is not None:
            return [], difference
        said = []
        for done, row in enumerate(asked.rows):
            progress("answering on llama.cpp", done)
            began = time.perf_counter()
            text, tokens = _answer(llama, row, asked.limit)
            elapsed = (time.perf_counter() - began) * 1000
            said.append(Said(text, asked.written(tokens), elapsed))
        return said, None


def _answer(llama: Llama, row: EncodedRow, limit: int) -> tuple[str, list[int]]:
    try:
        return llama.answer(row.prompt, limit)
    except httpx.TimeoutException as error:
        minutes = answer_seconds(len(row.prompt), limit) / 60
        raise Refused(
            f"llama.cpp has not answered document {row.row.id} within {minutes:.0f} minutes, so the file could not be "
            "checked. Try again when this machine has less to do, or on one with more cores.",
            code="llama.cpp",
        ) from error


def first_difference(llama: Llama, asked: Question) -> dict[str, Any] | None:
    """The first document whose prompt or gold answer has other token ids there; None where all are equal."""
    encoder = asked.encoder
    for row in asked.rows:
        parts: dict[str, Any] = {"instruction": asked.instruction, "document": row.row.text}
        text = encoder.text(**parts)
        if encoder.style == "chat":
            theirs = llama.prompt_of(encoder.turns(**parts))
            if theirs != text:
                return _difference(row, "chat template", encoder, text, theirs)
        answer = asked.schema.canonical(row.row.gold)
        for what, ours, found in (
            ("prompt", row.prompt, llama.prompt_ids(text)),
            ("answer", row.completion[:-1], llama.tokenize(answer)),
        ):
            if ours != found:
                return _difference(row, what, encoder, ours, found)
    return None


def _difference(row: EncodedRow, what: str, encoder: Encoder, ours: Any, theirs: Any) -> dict[str, Any]:
    """Where two texts or lists of ids part, with a little of what follows on each side."""
    at = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    at = min(len(ours), len(theirs)) if at is None else at
    shown = [one[at : at + 40] if isinstance(one, str) else encoder.shown(one[at : at + 10]) for one in (ours, theirs)]
    return {"id": row.row.id, "what": what, "at": at, "training": shown[0], "llama_cpp": shown[1]}


def on_training_side(folder: str, asked: Question, progress: Progress) -> list[Said]:
    """The folder's answers, in fp32 and on the CPU, as llama.cpp computes too: what differs then is the file."""
    import torch

    from training.ml.decoding.decoder import Decoder, load

    loaded = load(folder, precision="fp32")
    decoder = Decoder(loaded, asked.encoder)
    decoder.warm([one.prompt for one in asked.rows])
    said = []
    for done, row in enumerate(asked.rows):
        progress("answering with transformers", done)
        answer = decoder.answer(row.prompt.copy, max_new_tokens=asked.limit, with_logprobs=True)
        said.append(Said(answer.text, asked.written(answer.tokens), answer.latency_ms))
    del decoder, loaded
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return said


def summary(asked: Question, ours: Sequence[Said], theirs: Sequence[Said]) -> dict[str, Any]:
    """What both sides wrote, in numbers, with a few of the documents on which they differ."""
    pairs = list(zip(asked.rows, ours, theirs, strict=True))
    different = [pair for pair in pairs if pair[1].text != pair[2].text]
    shared = sum(_shared(our.tokens, their.tokens) for _, our, their in pairs)
    written = sum(max(len(our.tokens), len(their.tokens)) for _, our, their in pairs)
    return {
        "documents": len(pairs),
        "tokens_equal": True,
        "prompts": len(pairs),
        "prompt_tokens": sum(len(row.prompt) for row in asked.rows),
        "outputs_equal": len(pairs) - len(different),
        "tokens_shared": round(shared / written, 4) if written else 1.0,
        "training": _scored(asked, ours),
        "llama_cpp": _scored(asked, theirs),
        "examples": [_example(*pair) for pair in different[:EXAMPLES]],
    }


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that agree before the first that does not."""
    for at, (mine, yours) in enumerate(zip(one, other, strict=False)):
        if mine != yours:
            return at
    return min(len(one), len(other))


def _scored(asked: Question, said: Sequence[Said]) -> dict[str, Any]:
    scores = [
        scorer.score_document(
            asked.schema,
            text=row.row.text,
            gold=row.row.gold,
            raw=one.text,
            finish_reason="length" if len(one.tokens) >= asked.limit else "stop",
        )
        for row, one in zip(asked.rows, said, strict=True)
    ]
    found = scorer.summarize(scores)
    return {
        "field_exact": found["field_exact"]["rate"],
        "schema_valid": found["schema_valid"]["rate"],
        "median_ms": round(statistics.median(one.milliseconds for one in said), 1),
    }


def _example(row: EncodedRow, ours: Said, theirs: Said) -> dict[str, Any]:
    return {"id": row.row.id, "training": ours.text[:2000], "llama_cpp": theirs.text[:2000]}


def lasting(found: dict[str, Any]) -> dict[str, Any]:
    """A summary without what another run of the same check measures otherwise: the hash of a folder is over this."""
    sides = {
        side: {name: value for name, value in found[side].items() if name != "median_ms"}
        for side in ("training", "llama_cpp")
    }
    return {**found, **sides}


def refuse_other_answers(found: dict[str, Any], kind: str) -> None:
    """Refused where a file writes something else altogether, or has lost more of what the model knows than rounding
    weights explains. What is less than that, the figures say.
    """
    advice = " Take GGUF f16 instead." if kind == "q8_0" else ""
    if found["tokens_shared"] < LEAST_SHARED[kind]:
        raise Refused(
            f"The file does not write what the model writes: only {_share(found['tokens_shared'])} of the tokens agree "
            f"before the first difference. It was thrown away.{advice}",
            code="outputs",
        )
    allowed = max(MOST_LOST, _CHANCE / found["documents"])
    for name, words in (("field_exact", "fields are right"), ("schema_valid", "answers fit the schema")):
        ours, theirs = found["training"][name], found["llama_cpp"][name]
        if ours is not None and theirs is not None and round(ours - theirs, 6) > allowed:
            raise Refused(
                f"The file answers worse than the model: {_share(theirs)} of its {words}, of the model's "
                f"{_share(ours)}. It was thrown away.{advice}",
                code="outputs",
            )


def _share(rate: float) -> str:
    return f"{100 * rate:.0f} %"

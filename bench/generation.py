"""Documents per second of generation, compared with ``model.generate`` and llama.cpp, on the same receipts.

All decode the same prompts greedily with the same model, precision and token limit, in the environment of a worker's
child:

- ``generate, one``: a loop over documents;
- ``generate, batches``: sorted by length, left-padded, in batches;
- ``studio, one`` and ``studio, batches``: as in an evaluation, with 500 outputs of other receipts known, like those of
  the training documents;
- ``llama.cpp``: the same weights as a GGUF file (``--gguf``).

Reports documents and tokens per second, the number of outputs equal to ``generate, one`` (constrained: to ``studio,
one``), field accuracy, the cost per token of constrained decoding, and the gain of speculative decoding.

    .venv/bin/python -m bench.generation FOLDER [--gguf FILE] [--precision fp32] [--documents 32] [--batch 8]

FOLDER is a prepared model, for example var/models/smollm2-135m-instruct or the merged folder of a training run; a
fine-tuned one ends its outputs, others generate up to the limit.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.harness import RECEIPTS, table
from slmstudio.runs.child_environment import cpu_settings

MAX_TOKENS = 160
KNOWN = 500


@dataclass
class Measurement:
    """The outputs of one method in order, generated tokens, and seconds."""

    name: str
    outputs: list[str]
    tokens: int
    seconds: float


class Bench:
    """A model, its encoder and the receipts."""

    def __init__(self, options: argparse.Namespace) -> None:
        from labeling.demo.templates import template
        from slmstudio.contract.decoding.grammar import grammar
        from slmstudio.contract.schema.compiled import compile_schema
        from training.ml.data.encoder import Encoder
        from training.ml.decoding.constraint import Grammar
        from training.ml.decoding.decoder import load
        from training.ml.hardware import device as machine

        machine.set_threads()
        self.loaded = load(str(options.folder), precision=options.precision)
        style = "chat" if self.loaded.tokenizer.chat_template else "plain"
        self.encoder = Encoder(self.loaded.tokenizer, style, self.loaded.model.generation_config)
        self.batch = options.batch
        receipt = template("receipt")
        self.compiled = compile_schema(receipt.schema)
        rows = [json.loads(line) for line in options.receipts.read_text(encoding="utf-8").splitlines()]
        self.rows, others = rows[: options.documents], rows[options.documents :][:KNOWN]
        self.known = [self.encoder.completion(self.compiled.canonical(row["gold"])) for row in others]
        self.prompts = [self.encoder.prompt(instruction=receipt.instruction, document=row["text"]) for row in self.rows]
        self.grammar = Grammar(
            grammar(receipt.schema),
            self.encoder.tokenizer,
            vocabulary=self.loaded.model.get_output_embeddings().weight.shape[0],
            stop_ids=self.encoder.stop_ids,
        )

    def timed(self, name: str, answer: Callable[[], list[list[int]]]) -> Measurement:
        """Runs it once and counts; the tokens that end answers are no part of the outputs."""
        began = time.perf_counter()
        written = answer()
        seconds = time.perf_counter() - began
        outputs = [self.encoder.decode(tokens) for tokens in written]
        return Measurement(name, outputs, sum(map(len, written)), seconds)

    # -- by hand --------------------------------------------------------------------------------------------------

    def by_hand(self, size: int) -> list[list[int]]:
        """``model.generate`` over batches of ``size``, the longest documents first."""
        import torch

        order = sorted(range(len(self.prompts)), key=lambda place: -len(self.prompts[place]))
        written: dict[int, list[int]] = {}
        pad = self.encoder.stop_ids[0]
        for at in range(0, len(order), size):
            places = order[at : at + size]
            width = max(len(self.prompts[place]) for place in places)
            padded = [[pad] * (width - len(self.prompts[place])) + self.prompts[place] for place in places]
            mask = [[0] * (width - len(self.prompts[p])) + [1] * len(self.prompts[p]) for p in places]
            with torch.inference_mode():
                generated = self.loaded.model.generate(
                    torch.tensor(padded, device=self.loaded.device),
                    attention_mask=torch.tensor(mask, device=self.loaded.device),
                    max_new_tokens=MAX_TOKENS,
                    do_sample=False,
                    temperature=None,
                    top_p=None,
                    top_k=None,
                    eos_token_id=list(self.encoder.stop_ids),
                    pad_token_id=pad,
                )
            for place, tokens in zip(places, generated[:, width:].tolist(), strict=True):
                written[place] = self._ended(tokens)
        return [written[place] for place in range(len(self.prompts))]

    def _ended(self, tokens: list[int]) -> list[int]:
        """Up to and with the token that ends an answer; what follows is padding."""
        stops = set(self.encoder.stop_ids)
        end = next((at for at, token in enumerate(tokens) if token in stops), len(tokens) - 1)
        return tokens[: end + 1]

    # -- the studio's ----------------------------------------------------------------------------------------------

    def single(self, *, held: bool, speculate: bool = True) -> list[list[int]]:
        """As an evaluation asks about one document at a time."""
        from training.ml.decoding.decoder import Decoder
        from training.ml.decoding.speculation import Speculator

        decoder = Decoder(self.loaded, self.encoder, Speculator(self.known), speculate=speculate)
        decoder.warm(self.prompts)
        return [
            list(
                decoder.answer(
                    prompt.copy,
                    max_new_tokens=MAX_TOKENS,
                    constraint=self.grammar.constraint() if held else None,
                    with_logprobs=True,
                ).tokens
            )
            for prompt in self.prompts
        ]

    def batches(self, *, held: bool, fed: int | None = None) -> list[list[int]]:
        """As an evaluation asks about several at once."""
        from evaluation.ml.batches import MAX_FED_TOKENS, BatchGenerator, BatchItem
        from training.ml.decoding.speculation import Speculator

        batches = BatchGenerator(
            self.loaded, self.encoder, Speculator(self.known), fed=MAX_FED_TOKENS if fed is None else fed
        )
        batches.warm(self.prompts, max(map(len, self.prompts)) + MAX_TOKENS)
        asked = [BatchItem(prompt, MAX_TOKENS, self.grammar.constraint() if held else None) for prompt in self.prompts]
        ordered = sorted(asked, key=lambda item: -len(item.prompt))
        for at in range(0, len(ordered), self.batch):
            batches.answer(ordered[at : at + self.batch], time.perf_counter())
        return [item.tokens for item in asked]

    def llama(self, file: Path, at_once: int, *, held: bool) -> Measurement:
        """llama.cpp with a GGUF file; loading it is no part of the time."""
        from concurrent.futures import ThreadPoolExecutor

        from slmstudio.contract.decoding.grounding import GroundingPlan, grammar_of
        from training.ml.llama_cpp.runtime import running

        more = {"grammar": grammar_of(self.compiled, GroundingPlan(), "")} if held else {}
        context = (max(map(len, self.prompts)) + MAX_TOKENS) // 256 * 256 + 256
        with running(file, context=context, parallel=at_once) as llama, ThreadPoolExecutor(at_once) as pool:

            def ask(prompt: list[int]) -> list[int]:
                return [int(token) for token in llama.complete(prompt, MAX_TOKENS, seconds=600, **more)["tokens"]]

            ask(self.prompts[0][:16])
            return self.timed(f"llama.cpp, {at_once} at once", lambda: list(pool.map(ask, self.prompts)))

    def right(self, outputs: Sequence[str]) -> str:
        """Fields that are right, of all."""
        from slmstudio.contract.scoring.scorer import score_document, summarize

        pairs = zip(self.rows, outputs, strict=True)
        exact = summarize(
            [score_document(self.compiled, text=row["text"], gold=row["gold"], raw=raw) for row, raw in pairs]
        )["field_exact"]
        return f"{exact['k']} of {exact['n']}"


def _line(bench: Bench, way: Measurement, reference: Measurement) -> list[str]:
    same = sum(ours == theirs for ours, theirs in zip(way.outputs, reference.outputs, strict=True))
    return [
        way.name,
        f"{len(way.outputs) / way.seconds:.3f}",
        f"{way.tokens / way.seconds:.1f}",
        f"{reference.seconds / way.seconds:.2f} times",
        f"{same} of {len(way.outputs)}",
        bench.right(way.outputs),
    ]


def _print(bench: Bench, title: str, ways: Sequence[Measurement], reference: Measurement) -> None:
    heads = ["", "documents/s", "tokens/s", "against the first", "equal outputs", "fields right"]
    print(table(title, heads, [_line(bench, way, reference) for way in ways]))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a prepared model")
    parser.add_argument("--gguf", type=Path, help="the same weights for llama.cpp")
    parser.add_argument("--receipts", type=Path, default=RECEIPTS)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    if "GOMP_SPINCOUNT" not in os.environ:  # read when a process starts, so it is started again
        os.execve(sys.executable, sys.orig_argv, {**cpu_settings(), **os.environ})
    size, file = options.batch, options.gguf
    bench = Bench(options)
    print(f"\n{options.folder}, {len(bench.rows)} receipts, at most {MAX_TOKENS} tokens")
    print(f"{options.precision} on {bench.loaded.device.type}\n")
    free = [
        bench.timed("generate, one", lambda: bench.by_hand(1)),
        bench.timed(f"generate, batches of {size}", lambda: bench.by_hand(size)),
        bench.timed("studio, one", lambda: bench.single(held=False)),
        bench.timed(f"studio, batches of {size}", lambda: bench.batches(held=False)),
        *([bench.llama(file, many, held=False) for many in (1, size)] if file else []),
    ]
    _print(bench, "unconstrained", free, free[0])
    held = [
        bench.timed("studio, one", lambda: bench.single(held=True)),
        bench.timed(f"studio, batches of {size}", lambda: bench.batches(held=True)),
        *([bench.llama(file, many, held=True) for many in (1, size)] if file else []),
    ]
    _print(bench, "constrained", held, held[0])
    plain = bench.timed("unconstrained, no speculation", lambda: bench.single(held=False, speculate=False))
    slow = bench.timed("constrained, no speculation", lambda: bench.single(held=True, speculate=False))
    lean = bench.timed("constrained, batches, no speculation", lambda: bench.batches(held=True, fed=0))
    cost = 1000 * (slow.seconds / slow.tokens - plain.seconds / plain.tokens)
    print(f"Constrained decoding costs {cost:.2f} ms per token ({1000 * slow.seconds / slow.tokens:.1f} ms with it).")
    print(
        f"Speculative decoding: {slow.seconds / held[0].seconds:.2f} times as fast one at a time, "
        f"{lean.seconds / held[1].seconds:.2f} times in batches."
    )


if __name__ == "__main__":
    main()

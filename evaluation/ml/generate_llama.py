"""Generates the outputs of a spec with llama.cpp: ``python -m evaluation.ml.generate_llama SPEC.yaml``.

The same spec, events and file as ``evaluation.ml.generate``, with llama.cpp (package ``xllamacpp``) in this process.
Prompts are the tokens of the model's own tokenizer (the export checked that llama.cpp makes the same), and outputs are
constrained by the same grammar and library: llama.cpp's own JSON Schema support ignores some rules silently. Where that
library gives up (documents of some 25,000 characters), llama.cpp silently continues without it: so every output is
checked against its grammar, and one that violates it is discarded.

Latency is that of one request to a server on this machine: tokenization, a grammar of its own where the document has
one, prefill of the part that is not shared with the prompt before, decoding. The check against the grammar is not
included. With ``at_once`` that many requests run concurrently and share the machine.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path

import httpx
import psutil

from evaluation.inference.spec import EvalSpec, GgufRef
from evaluation.ml.prompts import (
    DocumentOutput,
    PromptBuilder,
    common_prefix,
    merged_output,
    selected_rows,
    window_rows,
    write_outputs,
)
from slmstudio.contract.decoding.grammar import exceeds_optional_limit
from slmstudio.contract.decoding.grounding import is_accepted
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file
from slmstudio.workers.hardware import host_environment, peak_resident_bytes
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row, compiled, read_rows
from training.ml.events import Emitter, describe_error, run_child
from training.ml.lengths import load_encoder
from training.ml.llama_cpp.gguf import check_file
from training.ml.llama_cpp.runtime import Llama, running
from training.ml.modeling.folder_checks import check_decoder, check_ref

#: timeout of one request
ANSWER_SECONDS = 600.0
_PACKAGES = ("xllamacpp", "tokenizers", "llguidance")


class LlamaGenerator:
    """Generates outputs with a running llama.cpp. ``answer`` may be called from several threads."""

    def __init__(self, builder: PromptBuilder, llama: Llama, encoder: Encoder) -> None:
        self._builder = builder
        self._llama = llama
        self._encoder = encoder

    def answers(self, rows: Iterable[Row], at_once: int) -> Iterator[DocumentOutput]:
        """The output of each document, in order of completion."""
        if at_once == 1:
            yield from map(self.answer, rows)
            return
        with ThreadPoolExecutor(at_once, thread_name_prefix="llama") as pool:
            for done in as_completed([pool.submit(self.answer, row) for row in rows]):
                yield done.result()

    def answer(self, row: Row) -> DocumentOutput:
        """The output for one document, or why there is none. Never raises."""
        started = time.perf_counter()
        try:
            windows = self._builder.split(row.text)
        except Exception as error:
            return DocumentOutput.failed(row.id, _error_message(error), (time.perf_counter() - started) * 1000)
        if len(windows) == 1:
            return self._answer(self._builder, row)
        outputs: list[DocumentOutput] = []
        for part in window_rows(row, windows):
            outputs.append(self._answer(self._builder.part, part))
            if outputs[-1].finish_reason != "stop":
                break
        elapsed = (time.perf_counter() - started) * 1000
        return merged_output(self._builder.schema, row, windows, outputs, elapsed)

    def _answer(self, builder: PromptBuilder, row: Row) -> DocumentOutput:
        started = time.perf_counter()
        try:
            prompt = builder.prompt_within_context(row.text)
            text = builder.grammar(row.text)
            constraint = {"grammar": text} if text else {}
            response = self._llama.complete(
                prompt, builder.max_output_tokens(prompt), seconds=ANSWER_SECONDS, **constraint
            )
            elapsed = round((time.perf_counter() - started) * 1000, 2)
            tokens = [int(token) for token in response["tokens"]]
            finish_reason = "length" if response.get("stop_type") == "limit" or response.get("truncated") else "stop"
            raw = self._encoder.decode(tokens)
            # A truncated output may end in half a character.
            if text and not is_accepted(text, raw.removesuffix("\ufffd") if finish_reason == "length" else raw):
                raise Refused("The output violates its grammar: llama.cpp did not apply it.", code="grammar")
        except Exception as error:
            return DocumentOutput.failed(row.id, _error_message(error), (time.perf_counter() - started) * 1000)
        generated = int(response.get("tokens_predicted") or len(tokens))
        return DocumentOutput(row.id, raw, finish_reason, elapsed, len(prompt), generated, "")


def _error_message(error: Exception) -> str:
    """The error message of a failed request."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"llama.cpp rejected the document (HTTP {error.response.status_code}): {error.response.text[:300]}"
    if isinstance(error, httpx.TimeoutException):
        return f"No response from llama.cpp within {ANSWER_SECONDS:g} s."
    if isinstance(error, httpx.HTTPError):
        return f"llama.cpp does not respond: {error}"
    return describe_error(error)[1]


def _verified_file(ref: GgufRef | None) -> Path:
    """The file, verified before llama.cpp loads it. Raises Refused."""
    if ref is None:
        raise Refused("The spec names no GGUF file.", code="gguf")
    if find_spec("xllamacpp") is None:
        raise Refused("llama.cpp is not installed on this machine (the package xllamacpp).", code="gguf")
    path = Path(ref.path)
    if not path.is_file():
        raise Refused(f"The GGUF file {path.name} is missing. Export it again.", code="gguf")
    check_file(path)
    if ref.sha256 and sha256_file(path) != ref.sha256:
        raise Refused(f"The GGUF file {path.name} has changed since the export: its hash differs.", code="gguf")
    return path


def _context_size(builder: PromptBuilder, prompts: Iterable[list[int]]) -> int:
    """Tokens of the longest prompt with its output, rounded up to 256; at most the model's context."""
    longest = max(len(prompt) + builder.max_output_tokens(prompt) for prompt in prompts)
    needed = (longest // 256 + 1) * 256
    return min(needed, builder.context) if builder.context else needed


def main(spec: EvalSpec, emitter: Emitter) -> None:
    """The child process."""
    config = check_ref(spec.model)
    check_decoder(config)
    file = _verified_file(spec.gguf)
    schema = compiled(spec.contract)
    rows = read_rows(spec.documents.path, spec.documents.sha256)
    selected = selected_rows(rows, spec.documents)
    encoder = load_encoder(spec.model.path, spec.prompt)
    builder = PromptBuilder.of_evaluation(spec, schema, encoder, rows, config.get("max_position_embeddings"))
    if spec.mode != "free" and exceeds_optional_limit(schema.schema):
        raise Refused(
            "llama.cpp does not support that many optional fields. Evaluate the weights instead.", code="schema"
        )
    prompts = [prompt for row in selected for prompt in builder.prompts(row.text)]
    # The reported peak is that of llama.cpp with its mapped weights: Python and the tokenizer are no part of a server.
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    with running(file, context=_context_size(builder, prompts), parallel=spec.at_once) as llama:
        generator = LlamaGenerator(builder, llama, encoder)
        shared = common_prefix(prompts)
        if shared:
            llama.complete(shared, 0, seconds=ANSWER_SECONDS)
        environment = host_environment(_PACKAGES)
        emitter.emit(
            "start",
            documents=len(selected),
            max_new_tokens=builder.limit.maximum,
            device="cpu",
            precision=file.stem.rpartition("-")[2],
            threads=environment["cores"],
            processor=environment["processor"],
            environment={**environment, "device": "cpu"},
            prompt_sha256=builder.template_sha256(),
            shared_tokens=len(shared),
            warm_ms=round((time.perf_counter() - started) * 1000, 1),
            stop_ids=list(encoder.stop_ids),
            seed=spec.seed,
            at_once=spec.at_once,
            grounded=builder.ground.as_dict() if builder.ground else None,
            engine="llama.cpp",
        )
        answers = generator.answers(selected, spec.at_once)
        write_outputs(spec.outputs, answers, emitter, lambda: max(0, peak_resident_bytes() - before))


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, EvalSpec.from_yaml, main))

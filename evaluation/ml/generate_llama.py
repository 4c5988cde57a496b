"""Answers of a GGUF file over the documents of a split: ``python -m evaluation.ml.generate_llama SPEC.yaml``.

The same spec, events and file as ``evaluation.ml.generate``, answered by llama.cpp (the package ``xllamacpp``) in this
process. Prompts are the very tokens that the model's folder makes of a document (that llama.cpp makes the same was
checked when the file was made), and answers are held to the same grammar by the same library: llama.cpp's own reading
of JSON Schema leaves rules out in silence. Where that library gives up (with documents of some 25,000 characters),
llama.cpp goes on without it, in silence too: every answer is held against its grammar once more, and one that breaks it
is no answer.

Latency is that of one request to a server on this machine: tokenising, the grammar of the document where it has one of
its own, reading what is not shared with the prompt before, decoding. That the answer is held against its grammar once
more is no part of it.
With ``at_once`` so many requests are under way together, and each waits for those beside it.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import httpx
import psutil

from evaluation.ml.questions import Output, Questions, chosen, shared_start, tell
from evaluation.runs.spec import EvalSpec, GgufRef
from slmstudio.contract.decoding.grammar import exceeds_optional_limit
from slmstudio.contract.decoding.grounding import follows
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file
from slmstudio.workers.hardware import peak_resident_bytes, this_machine
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row, compiled, read_rows
from training.ml.events import Emitter, explain, run_child
from training.ml.lengths import load_encoder
from training.ml.llama_cpp.gguf import check_file
from training.ml.llama_cpp.runtime import Llama, running
from training.ml.modeling.folder_checks import check_ref

#: seconds after which one answer is given up
ANSWER_SECONDS = 600.0


class Answering:
    """A running llama.cpp and a way of asking. ``answer`` may be called from several threads."""

    def __init__(self, questions: Questions, llama: Llama, encoder: Encoder) -> None:
        self._questions = questions
        self._llama = llama
        self._encoder = encoder

    def answers(self, rows: Iterable[Row], at_once: int) -> Iterator[Output]:
        """What became of each document, as they are done."""
        if at_once == 1:
            yield from map(self.answer, rows)
            return
        with ThreadPoolExecutor(at_once, thread_name_prefix="llama") as pool:
            for done in as_completed([pool.submit(self.answer, row) for row in rows]):
                yield done.result()

    def answer(self, row: Row) -> Output:
        """The model's answer to one document, or why there is none. Never raises."""
        started = time.perf_counter()
        try:
            prompt = self._questions.fitting(row.text)
            text = self._questions.grammar(row.text)
            held = {"grammar": text} if text else {}
            said = self._llama.complete(prompt, self._questions.most(prompt), seconds=ANSWER_SECONDS, **held)
            elapsed = round((time.perf_counter() - started) * 1000, 2)
            written = [int(token) for token in said["tokens"]]
            ending = "length" if said.get("stop_type") == "limit" or said.get("truncated") else "stop"
            raw = self._encoder.decode(written)
            # Where it was cut there may stand half a letter.
            if text and not follows(text, raw.removesuffix("\ufffd") if ending == "length" else raw):
                raise Refused("llama.cpp did not hold the answer to its grammar, so it does not count.", code="grammar")
        except Exception as error:
            return Output.failed(row.id, _why(error), (time.perf_counter() - started) * 1000)
        counted = int(said.get("tokens_predicted") or len(written))
        return Output(row.id, raw, ending, elapsed, len(prompt), counted, "")


def _why(error: Exception) -> str:
    """A sentence for an answer that did not come."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"llama.cpp refuses the document (HTTP {error.response.status_code}): {error.response.text[:300]}"
    if isinstance(error, httpx.TimeoutException):
        return f"llama.cpp had not answered after {ANSWER_SECONDS:g} s."
    if isinstance(error, httpx.HTTPError):
        return f"llama.cpp does not answer: {error}"
    return explain(error)[1]


def _checked(ref: GgufRef | None) -> Path:
    """The file, looked over before llama.cpp reads it. Raises Refused."""
    if ref is None:
        raise Refused("The spec names no GGUF file.", code="gguf")
    if find_spec("xllamacpp") is None:
        raise Refused("llama.cpp is not installed on this machine (the package xllamacpp).", code="gguf")
    path = Path(ref.path)
    if not path.is_file():
        raise Refused(f"The GGUF file {path.name} is gone. Make it again.", code="gguf")
    check_file(path)
    if ref.sha256 and sha256_file(path) != ref.sha256:
        raise Refused(f"The GGUF file {path.name} has changed since it was made: its hash is another one.", code="gguf")
    return path


def _room(questions: Questions, prompts: Iterable[list[int]]) -> int:
    """Tokens that the longest prompt with its answer needs, up to the next 256; no more than the model reads."""
    longest = max(len(prompt) + questions.most(prompt) for prompt in prompts)
    wanted = (longest // 256 + 1) * 256
    return min(wanted, questions.context) if questions.context else wanted


def main(spec: EvalSpec, emitter: Emitter) -> None:
    """The child process."""
    config = check_ref(spec.model)
    file = _checked(spec.gguf)
    schema = compiled(spec.contract)
    rows = read_rows(spec.documents.path, spec.documents.sha256)
    asked = chosen(rows, spec.documents)
    encoder = load_encoder(spec.model.path, spec.prompt)
    questions = Questions(spec, schema, encoder, rows, config.get("max_position_embeddings"))
    if spec.mode != "free" and exceeds_optional_limit(schema.schema):
        raise Refused(
            "llama.cpp cannot hold to so many fields that may be left out. Evaluate the weights.", code="schema"
        )
    prompts = [questions.prompt(row.text) for row in asked]
    # The peak told is what llama.cpp comes to take, its mapped weights included: what reads the documents here
    # (Python, the tokenizer) is no part of a llama.cpp that serves.
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    with running(file, context=_room(questions, prompts), at_once=spec.at_once) as llama:
        answering = Answering(questions, llama, encoder)
        shared = shared_start(prompts)
        if shared:
            llama.complete(shared, 0, seconds=ANSWER_SECONDS)
        hardware = this_machine()
        emitter.emit(
            "start",
            documents=len(asked),
            max_new_tokens=questions.limit.most,
            device="cpu",
            precision=file.stem.rpartition("-")[2],
            threads=hardware.cores,
            processor=hardware.processor,
            packages={"xllamacpp": metadata.version("xllamacpp")},
            shared_tokens=len(shared),
            warm_ms=round((time.perf_counter() - started) * 1000, 1),
            stop_ids=list(encoder.stop_ids),
            seed=spec.seed,
            at_once=spec.at_once,
            grounded=questions.ground.as_dict() if questions.ground else None,
            engine="llama.cpp",
        )
        answers = answering.answers(asked, spec.at_once)
        tell(spec.outputs, answers, emitter, lambda: max(0, peak_resident_bytes() - before))


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, EvalSpec.from_yaml, main))

"""Generates the outputs of a spec with transformers: ``python -m evaluation.ml.generate SPEC.yaml``.

Events: start {documents, max_new_tokens, device, precision, threads, processor, environment, prompt_sha256,
shared_tokens, warm_ms, stop_ids, seed, at_once, grounded}; output {id, raw, finish_reason: stop | length | error,
latency_ms, prompt_tokens, output_tokens, error}, one for each document, where the spec asks for it confidence
{path: [least, mean]}, and for a long document windows, their number; done {seconds, docs_per_second, peak_memory_bytes,
sha256}. Every output is also a line of the outputs file. A document that fails has an output with an error; it never
ends the run.

Latency is that of one document at a time: tokenization, prefill of the part that is not shared with the other prompts,
a grammar of its own where it has one, decoding. The prefix that all prompts share is computed once before the first
document (``warm_ms``). With ``at_once`` documents are generated in batches of similar length, and the latency of each
counts from the start of its batch to its own end, including prompts and grammars of the whole batch. A document that
is too long is read in windows (``evaluation.ml.windows``), one after another or in batches of their own; its latency is
that of all of them.
"""

import sys
import time
from pathlib import Path

from transformers import set_seed

from evaluation.inference.spec import EvalSpec
from evaluation.ml.hybrid import generator_of
from evaluation.ml.prompts import PromptBuilder, selected_rows, write_outputs
from training.ml.data.encoder import Encoder
from training.ml.data.rows import compiled, read_rows
from training.ml.decoding.decoder import load
from training.ml.events import Emitter, run_child
from training.ml.hardware import device as machine
from training.ml.modeling.folder_checks import check_decoder, check_ref


def main(spec: EvalSpec, emitter: Emitter) -> None:
    """The child process."""
    check_decoder(check_ref(spec.model))
    schema = compiled(spec.contract)
    rows = read_rows(spec.documents.path, spec.documents.sha256)
    selected = selected_rows(rows, spec.documents)
    set_seed(spec.seed)
    machine.set_threads()
    loaded = load(spec.model.path, precision=spec.precision)
    encoder = Encoder(loaded.tokenizer, spec.prompt, loaded.model.generation_config)
    context: int | None = getattr(loaded.model.config, "max_position_embeddings", None)
    builder = PromptBuilder.of_evaluation(spec, schema, encoder, rows, context)
    options = {"confidence": spec.confidence, "at_once": spec.at_once}
    generator = generator_of(Path(spec.model.path), builder, loaded, encoder, **options)
    started = time.perf_counter()
    shared = generator.warm(selected)
    environment = machine.environment(loaded.device, loaded.precision)
    emitter.emit(
        "start",
        documents=len(selected),
        max_new_tokens=builder.limit.maximum,
        device=loaded.device.type,
        precision=loaded.precision,
        threads=environment["threads"],
        processor=environment["processor"],
        environment=environment,
        prompt_sha256=builder.template_sha256(),
        shared_tokens=shared,
        warm_ms=round((time.perf_counter() - started) * 1000, 1),
        stop_ids=list(encoder.stop_ids),
        seed=spec.seed,
        at_once=generator.at_once,
        grounded=builder.ground.as_dict() if builder.ground else None,
    )
    write_outputs(spec.outputs, generator.answers(selected), emitter, lambda: machine.memory_bytes(loaded.device))


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, EvalSpec.from_yaml, main))

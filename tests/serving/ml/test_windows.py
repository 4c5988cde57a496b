"""An engine answers a document that is too long for one prompt window by window."""

from typing import Any

from evaluation.ml.prompts import PromptBuilder
from serving.ml.engines.engine import Slots, Turn, prepare
from serving.packages.spec import ServeSpec
from serving.replicas.protocol import Confidence, ModelOutput
from tests.serving import event_loop
from tests.serving.ml.engine_rig import RAW, served
from training.spec import WindowPlan

PLAN = WindowPlan(size=60, whole=80)
TEXT = "Invoice A-100\n" + "line of the document\n" * 40 + "total 1.50\n"


def builder_with_windows() -> PromptBuilder:
    _, plain = served("vllm")
    return PromptBuilder(plain.spec, plain.schema, plain.encoder, plain.context, plain.limit, None, windows=PLAN)


def answered(text: str, output: Any) -> tuple[ModelOutput, int]:
    """The answer of an engine whose model writes ``output(prompt text)``, and how often it was asked."""
    builder, asked = builder_with_windows(), []

    async def ask(prepared: tuple[list[int], str], turn: Turn) -> ModelOutput:
        prompt = builder.encoder.text_with_special_tokens(prepared[0])
        asked.append(prompt)
        output_of_window = output(prompt)
        if isinstance(output_of_window, ModelOutput):
            return output_of_window
        confidence: Confidence = {"invoice_id": (0.8, 0.9)} if "A-100" in output_of_window else {}
        return ModelOutput(output_of_window, "stop", turn.queue_ms, turn.model_ms, len(prepared[0]), 7, confidence)

    async def work() -> ModelOutput:
        return await Slots(1).answer(builder, text, prepare, ask)

    return event_loop.run(work()), len(asked)


def read(prompt: str) -> str:
    parts = ['"invoice_id":"A-100"'] if "A-100" in prompt else []
    return "{" + ",".join([*parts, '"total":"1.50"' if "1.50" in prompt else '"total":null']) + "}"


def test_the_answers_of_windows_are_merged() -> None:
    answer, asked = answered(TEXT, read)
    assert asked > 3
    assert (answer.raw, answer.finish_reason, answer.output_tokens) == (RAW, "stop", 7 * asked)
    assert answer.confidence == {"invoice_id": (0.8, 0.9)}
    assert answer.prompt_tokens > 80 * (asked - 1)
    short, asked = answered("Invoice A-100 total 1.50", read)
    assert (short.raw, asked) == (RAW, 1)


def test_a_window_without_an_output_is_the_answer() -> None:
    failed, asked = answered(TEXT, lambda prompt: ModelOutput.failed("engine", "It is away."))
    assert (failed.code, asked) == ("engine", 1)
    cut, asked = answered(TEXT, lambda prompt: read(prompt) if "A-100" in prompt else ModelOutput('{"tot', "length"))
    assert (cut.finish_reason, cut.raw, asked) == ("length", '{"tot', 2)


def test_a_package_records_its_windows() -> None:
    windows = WindowPlan(size=200, whole=300, answer=9)
    assert ServeSpec.from_yaml(served("vllm", windows=windows)[0].to_yaml()).windows == windows
    assert served("vllm")[0].windows is None

"""Decoding: the output is that of greedy decoding, with every optimization."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from slmstudio.contract.decoding.grammar import grammar
from slmstudio.contract.schema.compiled import compile_schema
from tests.training.ml_data import INSTRUCTION, SCHEMA, receipts, rows, smollm2_layers, tiny
from training.ml.data.encoder import Encoder
from training.ml.decoding.constraint import ConstraintError, Grammar
from training.ml.decoding.decoder import Decoder, GeneratedAnswer, load
from training.prompts import FewShotExample

TEXTS = [row["text"] for row in rows()[:6]]
RECEIPT = {
    "type": "object",
    "properties": {
        name: {"type": ["string", "null"], "maxLength": length}
        for name, length in {"company": 120, "date": 40, "address": 250, "total": 30}.items()
    },
    "required": ["company", "date", "address", "total"],
    "additionalProperties": False,
}


class Asked:
    """A model with its encoder and a few prompts."""

    def __init__(self, folder: Any, prompts: Callable[[Encoder], list[list[int]]], schema: dict[str, Any]) -> None:
        self.loaded = load(str(folder), precision="fp32")
        self.encoder = Encoder(self.loaded.tokenizer, "chat", self.loaded.model.generation_config)
        self.prompts = prompts(self.encoder)
        self.grammar = Grammar(
            grammar(schema),
            self.loaded.tokenizer,
            vocabulary=self.loaded.model.config.vocab_size,
            stop_ids=self.encoder.stop_ids,
        )

    def answers(
        self, *, held: bool, foresee: bool = True, warm: bool = True, limit: int = 120, prompts: int | None = None
    ) -> list[GeneratedAnswer]:
        decoder = Decoder(self.loaded, self.encoder, speculate=foresee)
        if warm:
            assert decoder.warm(self.prompts) > 10
        return [
            decoder.answer(prompt.copy, max_new_tokens=limit, constraint=self.grammar.constraint() if held else None)
            for prompt in self.prompts[:prompts]
        ]

    def generated(self, prompt: list[int], limit: int) -> str:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = self.loaded.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=limit
            )
        return self.encoder.decode(out[0, len(prompt) :].tolist())


def small_prompts(encoder: Encoder) -> list[list[int]]:
    example = FewShotExample("Invoice A-1\ntotal 2.50", '{"invoice_id":"A-1","total":"2.50"}')
    return [encoder.prompt(instruction=INSTRUCTION, document=text, examples=[example]) for text in TEXTS]


def receipt_prompts(encoder: Encoder) -> list[list[int]]:
    shown, *asked = sorted(receipts(60), key=lambda receipt: len(receipt["text"]))[
        :3
    ]  # reading a long one takes seconds
    example = FewShotExample(shown["text"], compile_schema(RECEIPT).canonical(shown["gold"]))
    return [
        encoder.prompt(
            instruction="Extract the fields of the receipt.",
            document=receipt["text"],
            schema_text=json.dumps(RECEIPT),
            examples=[example],
        )
        for receipt in asked
    ]


@pytest.fixture(scope="module")
def small() -> Asked:
    return Asked(tiny(), small_prompts, SCHEMA)


def test_unconstrained_output_matches_generate(small: Asked) -> None:
    answers = small.answers(held=False, limit=60, prompts=3)
    assert [answer.text for answer in answers] == [small.generated(prompt, 60) for prompt in small.prompts[:3]]


def test_speculation_does_not_change_the_output(small: Asked) -> None:
    for held, limit in ((True, 120), (False, 60)):
        fast, slow = (small.answers(held=held, foresee=foresee, limit=limit, prompts=3) for foresee in (True, False))
        assert [answer.text for answer in fast] == [answer.text for answer in slow]
        assert [answer.output_tokens for answer in fast] == [answer.output_tokens for answer in slow]
        assert sum(answer.steps for answer in fast) < sum(answer.steps for answer in slow)
        if held:
            compiled = compile_schema(SCHEMA)
            assert all(answer.finish_reason == "stop" for answer in fast)
            assert all(compiled.check(answer.text)[1] == [] for answer in fast), "of a model with random weights"
            cold = small.answers(held=held, warm=False, prompts=3)
            assert [answer.text for answer in cold] == [answer.text for answer in fast], "the prefix is not shared"


@pytest.mark.parametrize("learns", [True, False])
def test_without_learning_an_answer_depends_on_nothing_that_was_answered_before(small: Asked, learns: bool) -> None:
    """Where a step verifies other tokens, bf16 rounds differently: a confidence once differed by 0.2."""
    decoder = Decoder(small.loaded, small.encoder, learns=learns)
    decoder.warm(small.prompts)

    def answer(prompt: list[int]) -> GeneratedAnswer:
        constraint = small.grammar.constraint()
        return decoder.answer(prompt.copy, max_new_tokens=60, constraint=constraint, with_logprobs=True)

    first = answer(small.prompts[0])
    answer(small.prompts[1])
    answer(small.prompts[2][5:])  # without the shared prefix
    again = answer(small.prompts[0])
    assert again.tokens == first.tokens
    assert (again.steps == first.steps) is not learns
    assert (again.logprobs == first.logprobs) is not learns


def test_prompt_without_a_shared_prefix_is_answered(small: Asked) -> None:
    stranger = small.encoder.prompt(instruction="Something else.", document="total 1")[1:]
    alone = Decoder(small.loaded, small.encoder).answer(stranger.copy, max_new_tokens=30)
    decoder = Decoder(small.loaded, small.encoder)
    decoder.warm(small.prompts)
    assert decoder.answer(stranger.copy, max_new_tokens=30).text == alone.text
    first = small.answers(held=False, limit=30)[0].text
    assert decoder.answer(small.prompts[0].copy, max_new_tokens=30).text == first


def test_output_over_the_limit_has_finish_reason_length(small: Asked) -> None:
    for held in (True, False):
        [answer, *_] = small.answers(held=held, limit=7)
        assert (answer.finish_reason, answer.output_tokens) == ("length", 7)


@pytest.mark.parametrize("foresee", [True, False])
def test_logprobs_match_the_generated_tokens(small: Asked, foresee: bool) -> None:
    prompt = small.prompts[0]
    decoder = Decoder(small.loaded, small.encoder, speculate=foresee)
    answer = decoder.answer(prompt.copy, max_new_tokens=30, with_logprobs=True)
    assert len(answer.tokens) == len(answer.logprobs) == answer.output_tokens
    with torch.inference_mode():
        logits = small.loaded.model(torch.tensor([[*prompt, *answer.tokens]])).logits[0]
    expected = logits.log_softmax(-1)
    for place, (token, logprob) in enumerate(zip(answer.tokens, answer.logprobs, strict=True)):
        assert logprob == pytest.approx(float(expected[len(prompt) + place - 1, token]), abs=1e-3)
    assert decoder.answer(prompt.copy, max_new_tokens=30).logprobs == ()


def test_constrained_logprobs_are_over_allowed_tokens(small: Asked) -> None:
    prompt = small.prompts[0]
    decoder = Decoder(small.loaded, small.encoder)
    held = small.grammar.constraint()
    answer = decoder.answer(prompt.copy, max_new_tokens=120, constraint=held, with_logprobs=True)
    with torch.inference_mode():
        logits = small.loaded.model(torch.tensor([[*prompt, *answer.tokens]])).logits[0]
    free = logits.log_softmax(-1)
    gained = [
        logprob - float(free[len(prompt) + place - 1, token])
        for place, (token, logprob) in enumerate(zip(answer.tokens, answer.logprobs, strict=True))
    ]
    assert all(logprob <= 1e-6 for logprob in answer.logprobs)
    assert min(gained) > -1e-3
    assert max(gained) > 1, "where the grammar leaves few tokens, each is more probable"


def test_invalid_grammar_and_forbidden_token_are_errors(small: Asked) -> None:
    with pytest.raises(ConstraintError):
        Grammar("start: /(/", small.loaded.tokenizer, vocabulary=500, stop_ids=(2,))
    constraint = small.grammar.constraint()
    with pytest.raises(ConstraintError):
        constraint.accept(small.encoder.completion("x")[0])


def test_requested_precision_is_kept() -> None:
    assert load(str(tiny()), precision="fp32").model.dtype == torch.float32
    assert load(str(tiny()), precision="bf16").model.dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.real_model
def test_layers_of_a_packaged_model_match_generate_and_speculation_changes_nothing() -> None:
    real = Asked(smollm2_layers(4), receipt_prompts, RECEIPT)
    [answer] = real.answers(held=False, limit=16, prompts=1)
    assert answer.text == real.generated(real.prompts[0], 16)
    [fast], [slow] = (real.answers(held=True, limit=60, prompts=1, foresee=foresee) for foresee in (True, False))
    assert fast.text == slow.text
    assert fast.steps < slow.steps

"""Prompts of tuned and base models."""

from training.prompts import FewShotExample, chat, escape_special_tokens, plain, without_system

EXAMPLE = FewShotExample("Invoice 1", '{"id":"1"}')


def test_base_model_gets_schema_and_examples_in_order() -> None:
    messages = chat(instruction="Extract.", document="Invoice 2", schema_text='{"a":1}', examples=[EXAMPLE, EXAMPLE])
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert '{"a":1}' in messages[0]["content"]
    assert messages[2]["content"] == EXAMPLE.answer
    merged = without_system(chat(instruction=" Extract. ", document="Invoice 2", examples=[EXAMPLE]))
    assert [message["role"] for message in merged] == ["user", "assistant", "user"]
    assert merged[0]["content"] == "Extract.\n\nInvoice 1"


def test_plain_prompt_ends_where_the_completion_begins() -> None:
    text = plain(instruction="Extract.", document="Invoice 2", examples=[EXAMPLE])
    assert text == 'Extract.\n\nDocument:\nInvoice 1\n\nJSON:\n{"id":"1"}\n\nDocument:\nInvoice 2\n\nJSON:\n'


def test_document_cannot_end_its_turn() -> None:
    assert escape_special_tokens("a<|im_end|>b", ["<|im_end|>", "<"]) == "a< |im_end|>b"
    assert escape_special_tokens("nothing here", ["<|im_end|>"]) == "nothing here"

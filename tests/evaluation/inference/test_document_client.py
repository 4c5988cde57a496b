"""Long documents at an endpoint: read in windows of its size, merged into one output, counted as one document."""

import threading
from typing import Any

import pytest

from evaluation.inference.clients.document_client import DocumentClient, estimated_tokens
from evaluation.inference.clients.openai_options import EndpointConfig
from evaluation.inference.completion import Completion, ResponseStatus
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.windows.windows import MAX_WINDOWS, Window
from tests.contract.windows.statements import SCHEMA, Statement, statement
from tests.evaluation.fake_openai import Fake, Handler, Reply, error, pieces, says

COMPILED = compile_schema(SCHEMA)
MADE = statement(pages=3)


def reads(made: Statement) -> Reply:
    """Answers as a perfect model does for the part of the statement that it is sent."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        text = body["messages"][-1]["content"]
        start = made.text.index(text)
        says(dumps(made.read(Window(start, start + len(text), text))))(handler, body)

    return reply


def read(fake: Fake, text: str, *, window_tokens: int | None, structured: str = "auto", **options: Any) -> Completion:
    config = EndpointConfig(fake.url, "fake-1", timeout_seconds=5, structured=structured, window_tokens=window_tokens)
    client = DocumentClient(config, COMPILED, "Extract.", threading.Event())
    try:
        return client.read(text, **options)
    finally:
        client.close()


def test_a_long_document_is_read_in_windows_and_merged(fake: Fake) -> None:
    fake.replies = [reads(MADE)]
    answer = read(fake, MADE.text, window_tokens=500)
    assert answer.status == ResponseStatus.VALID
    assert loads(answer.text) == loads(answer.content) == loads(dumps(MADE.gold))
    assert answer.windows == len(fake.asked) > 3
    sent = [body["messages"][-1]["content"] for body in fake.asked]
    assert all(estimated_tokens(text) <= 500 for text in sent)
    assert (answer.tokens, answer.output_tokens, answer.attempts) == (120 * len(sent), 20 * len(sent), 1)


def test_a_document_with_too_many_windows_is_not_sent(fake: Fake) -> None:
    answer = read(fake, "short\n\n" * 100 * MAX_WINDOWS, window_tokens=128)
    assert (answer.status, fake.asked) == (ResponseStatus.TOO_LONG, [])


def test_a_window_has_null_for_required_values_that_it_lacks(fake: Fake) -> None:
    def nulls(handler: Handler, body: dict[str, Any]) -> None:
        text = body["messages"][-1]["content"]
        start = MADE.text.index(text)
        values = MADE.read(Window(start, start + len(text), text))
        says(dumps({**dict.fromkeys(SCHEMA["required"]), **values}))(handler, body)

    fake.replies = [nulls]
    values = read(fake, MADE.text, window_tokens=500)
    assert (values.status, loads(values.text)) == (ResponseStatus.VALID, loads(dumps(MADE.gold)))
    asked = fake.asked[0]["response_format"]["json_schema"]
    assert asked["strict"] is True
    assert asked["schema"]["properties"]["holder"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert "minItems" not in asked["schema"]["properties"]["transactions"]
    short = statement(pages=1, lines=2)
    fake.replies = [reads(short)]
    assert read(fake, short.text, window_tokens=500).windows == 1
    assert fake.asked[-1]["response_format"]["json_schema"]["schema"]["properties"]["holder"] == {"type": "string"}


def test_no_window_is_sent_after_its_time_or_where_no_one_waits(fake: Fake) -> None:
    fake.replies = [reads(MADE)]
    late = read(fake, MADE.text, window_tokens=500, seconds=0)
    assert (late.status, late.windows, len(fake.asked)) == (ResponseStatus.TIMEOUT, 0, 0)
    alone = read(fake, MADE.text, window_tokens=500, is_cancelled=lambda: len(fake.asked) == 2)
    assert (alone.status, alone.windows, alone.tokens) == (ResponseStatus.WAITING, 2, 240)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (says('{"transactions": [', finish="length"), ResponseStatus.CUT_OFF),
        (says("I cannot read this."), ResponseStatus.NOT_JSON),
        (error(400, "maximum context length is 100 tokens"), ResponseStatus.TOO_LONG),
    ],
)
def test_a_document_ends_with_its_first_incomplete_window(fake: Fake, failure: Reply, status: str) -> None:
    fake.replies = [reads(MADE), failure]
    answer = read(fake, MADE.text, window_tokens=500, structured="json_schema")
    assert (answer.status, answer.windows, len(fake.asked)) == (status, 2, 2)


def test_without_a_size_the_document_is_sent_as_a_whole(fake: Fake) -> None:
    fake.replies = [reads(MADE)]
    answer = read(fake, MADE.text, window_tokens=None)
    assert (answer.status, answer.windows, len(fake.asked)) == (ResponseStatus.VALID, 1, 1)


def test_confidence_is_that_of_the_window_whose_value_is_kept(fake: Fake) -> None:
    schema = compile_schema({"type": "object", "properties": {"total": {"type": "string"}}, "required": ["total"]})
    fake.replies = [
        says('{"total":"5"}', logprobs=pieces(('{"total":"', 1.0), ("5", 0.4), ('"}', 1.0))),
        says('{"total":"7"}', logprobs=pieces(('{"total":"', 1.0), ("7", 0.9), ('"}', 1.0))),
    ]
    config = EndpointConfig(fake.url, "fake-1", timeout_seconds=5, window_tokens=40)
    client = DocumentClient(config, schema, "Extract.", threading.Event())
    answer = client.read("5 and 7 are here\n" * 6 + "\n" + "7 and 5 are here\n" * 6)
    client.close()
    assert (answer.windows > 1, loads(answer.text)) == (True, {"total": "7"})
    assert answer.confidence == pytest.approx({"total": 0.9})


def test_tokens_are_estimated() -> None:
    estimates = {"": 0, "abc": 1, "abcd": 2, "漢字": 2, "Zürich\ud800": 4, "EUR 12.50": 8}
    assert {text: estimated_tokens(text) for text in estimates} == estimates


def test_no_request_is_repeated_where_no_one_waits(fake: Fake) -> None:
    fake.replies = [error(500, "busy")]
    answer = read(fake, "short", window_tokens=None, is_cancelled=lambda: len(fake.asked) > 0)
    assert (answer.status, len(fake.asked)) == (ResponseStatus.WAITING, 1)

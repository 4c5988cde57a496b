"""A client of an OpenAI-compatible server: each document gets one status, in bounded time."""

import threading
import time
from typing import Any

import pytest

from evaluation.inference.circuit_breaker import CircuitBreaker
from evaluation.inference.clients import openai_client as module
from evaluation.inference.clients.openai_client import OpenAIClient
from evaluation.inference.clients.openai_options import EndpointConfig
from evaluation.inference.completion import ResponseStatus
from slmstudio.contract.output_json import extract_json
from slmstudio.contract.schema.compiled import compile_schema, dumps
from tests.evaluation import fake_openai as fakes
from tests.evaluation.fake_openai import (
    GOOD,
    Fake,
    Reply,
    breaks_off,
    error,
    floods,
    hangs,
    pieces,
    says,
    sends,
)
from tests.evaluation.openai_calls import COMPILED, TURNS, ask

#: a server without an answer hangs for 20 seconds, one that is busy asks for a pause of 60
MAX_SECONDS = 15


def test_its_time_is_that_of_all_tries_with_the_pauses_between(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INITIAL_BACKOFF_SECONDS", 0.4)
    fake.replies = [error(503, "later"), says(GOOD)]
    completion = ask(fake)
    assert (completion.status, completion.attempts) == (ResponseStatus.VALID, 2)
    assert completion.seconds >= 0.3


def test_tokens_that_were_not_counted_apart_are_not_all_taken_for_read(fake: Fake) -> None:
    usages = (
        ({"total_tokens": 120}, len(GOOD) // 4, True),
        ({"total_tokens": 120, "prompt_tokens": 90}, 30, False),
        ({"total_tokens": 120, "completion_tokens": 200}, len(GOOD) // 4, True),
        # Thinking that is counted apart is paid for, too.
        ({"total_tokens": 120, "prompt_tokens": 90, "completion_tokens": 20}, 30, False),
    )
    for usage, written, estimated in usages:
        fake.replies = [sends(dumps({**fakes.completion(GOOD), "usage": usage}).encode())]
        completion = ask(fake)
        assert (completion.tokens, completion.output_tokens, completion.estimated) == (120, written, estimated)


def test_request_has_the_task_and_the_schema_and_its_answer_is_counted(fake: Fake) -> None:
    completion = ask(fake)
    assert (completion.status, completion.text, completion.attempts) == (ResponseStatus.VALID, GOOD, 1)
    assert (completion.tokens, completion.estimated) == (120, False)
    [body] = fake.asked
    assert body["model"] == "fake-1"
    assert body["temperature"] == 0
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "JSON Schema" in body["messages"][0]["content"]
    held = body["response_format"]
    assert held["type"] == "json_schema"
    assert held["json_schema"]["strict"] is True
    assert "x-slm" not in str(held), "the studio's own options are nobody's business"


def test_a_schema_that_leaves_names_open_is_not_called_strict(fake: Fake) -> None:
    compiled = compile_schema({"type": "object", "properties": {"id": {"type": "string"}}})
    client = OpenAIClient(EndpointConfig(fake.url, "fake-1"), threading.Event())
    client.complete(TURNS, compiled)
    client.close()
    assert fake.asked[0]["response_format"]["json_schema"]["strict"] is False


# -- how it is asked ---------------------------------------------------------------------------------------------------


def test_a_server_that_knows_no_schema_is_asked_for_an_object_then_in_words(fake: Fake) -> None:
    fake.replies = [
        error(400, "Unknown parameter: 'response_format.json_schema'"),
        error(400, "response_format is not supported"),
        says(f"Here it is:\n```json\n{GOOD}\n```\nAnything else?"),
    ]
    completion = ask(fake)
    assert (completion.status, completion.text) == (ResponseStatus.VALID, GOOD)
    assert [body.get("response_format", {}).get("type") for body in fake.asked] == ["json_schema", "json_object", None]
    fake.replies = [error(400, "response_format is not supported")]
    assert ask(fake, structured="json_schema", logprobs=False).status == ResponseStatus.REFUSED
    assert len(fake.asked) == 4, "a fixed way of asking is kept"


def test_a_server_that_gives_no_log_probabilities_is_asked_without(fake: Fake) -> None:
    fake.replies = [error(400, "logprobs is not allowed for this model"), says(GOOD)]
    completion = ask(fake)
    assert completion.status == ResponseStatus.VALID
    assert ["logprobs" in body for body in fake.asked] == [True, False]
    assert fake.asked[1]["response_format"]["type"] == "json_schema"


def test_what_was_found_out_holds_for_the_documents_after(fake: Fake) -> None:
    client = OpenAIClient(EndpointConfig(fake.url, "fake-1"), threading.Event())
    fake.replies = [error(400, "json_schema?"), says(GOOD), error(400, "this document is forbidden")]
    assert client.complete(TURNS, COMPILED).status == ResponseStatus.VALID
    completion = client.complete(TURNS, COMPILED)
    client.close()
    assert (completion.status, completion.attempts) == (ResponseStatus.REFUSED, 1), (
        "it answered this way before: the document is to blame"
    )
    assert (client.options["response_format"], client.options["logprobs"]) == ("json_object", True)


# -- how sure it was ---------------------------------------------------------------------------------------------------


def test_log_probabilities_become_confidence_by_field(fake: Fake) -> None:
    logprobs = pieces(('{"', 1.0), ("id", 0.01), ('": "', 0.9), ("A", 0.6), ("-1", 0.8), ('", "', 0.7), ("total", 0.02),
                      ('": ', 1.0), ("2.50", 0.5), ("}", 0.95))  # fmt: skip
    fake.replies = [says('{"id": "A-1", "total": 2.50}', logprobs=logprobs)]
    completion = ask(fake)
    assert completion.confidence == pytest.approx({"id": 0.6, "total": 0.5})


def test_what_a_server_left_out_of_its_text_but_not_of_its_tokens_does_not_count(fake: Fake) -> None:
    # As llama.cpp does with a fence. The first brace is that of a thought; what ends the answer is sure of nothing.
    logprobs = pieces(
        ("<think>{}</think>", 0.1), ("```json\n\n", 0.1), ('{"id":"', 1.0), ("é", 0.6), ('","total":', 1.0), ("1", 0.9),
        ("}", 1.0), ("\n", 0.01), ("```", 0.01), ("", 0.01),
    )  # fmt: skip
    fake.replies = [says('{"id":"é","total":1}', logprobs=logprobs)]
    assert ask(fake).confidence == pytest.approx({"id": 0.6, "total": 0.9})


def test_log_probabilities_that_do_not_fit_give_no_confidence(fake: Fake) -> None:
    misfits: list[list[Any]] = [
        [],
        [{"token": "other text", "logprob": -1.0, "bytes": None}],
        [{"token": GOOD, "logprob": "high"}],
        [{"logprob": -1.0}],
        [None],
        [{"token": GOOD, "logprob": -1.0, "bytes": [999]}, 3],
    ]
    for logprobs in misfits:
        fake.replies = [says(GOOD, logprobs=logprobs)]
        completion = ask(fake)
        assert (completion.status, completion.confidence) == (ResponseStatus.VALID, {}), logprobs


# -- what servers do ---------------------------------------------------------------------------------------------------


def tells(**message: Any) -> Reply:
    """Answers with this message."""
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return sends(dumps({"object": "client.completion", "choices": [choice]}).encode())


MISBEHAVIOR: list[tuple[Reply, ResponseStatus]] = [
    (says('{"id": "A-1"}'), ResponseStatus.INVALID),
    (says("I am sorry, I cannot."), ResponseStatus.NOT_JSON),
    (says("[1, 2]"), ResponseStatus.NOT_JSON),
    (says('{"id": "A-1", "tot', finish="length"), ResponseStatus.CUT_OFF),
    (says("  \n"), ResponseStatus.EMPTY),
    (says("", finish="length"), ResponseStatus.CUT_OFF),
    (says("", finish="content_filter"), ResponseStatus.DECLINED),
    (says("<think>maybe {not this}</think>" + GOOD), ResponseStatus.VALID),
    (says([{"type": "text", "text": GOOD}]), ResponseStatus.VALID),
    (says(None), ResponseStatus.EMPTY),
    (says(None, finish="length"), ResponseStatus.CUT_OFF),
    (says(None, finish="content_filter"), ResponseStatus.DECLINED),
    (tells(role="assistant", reasoning_content="Let me think."), ResponseStatus.EMPTY),
    (tells(role="assistant", content=None, tool_calls=[]), ResponseStatus.EMPTY),
    (tells(role="assistant", content=None, tool_calls=[{"id": "call-1", "type": "function"}]),
     ResponseStatus.NO_COMPLETION),
    (tells(), ResponseStatus.NO_COMPLETION),
    (says(17), ResponseStatus.NO_COMPLETION),
    (sends(b"<!doctype html><h1>Login</h1>", kind="text/html"), ResponseStatus.WEB_PAGE),
    (sends(b"  <html>", kind="application/json"), ResponseStatus.WEB_PAGE),
    (sends(b"not json"), ResponseStatus.NO_COMPLETION),
    (sends(b""), ResponseStatus.NO_COMPLETION),
    (sends(b"[" * 200_000), ResponseStatus.NO_COMPLETION),
    (sends(b'{"choices": []}'), ResponseStatus.NO_COMPLETION),
    (sends(b'{"choices": [{"message": "text"}]}'), ResponseStatus.NO_COMPLETION),
    (sends(b'{"error": {"message": "model not loaded"}}'), ResponseStatus.NO_COMPLETION),
    (sends(b"\xff\xfe\x00\xd8"), ResponseStatus.NO_COMPLETION),
    (sends(b"x" * 2_000_000), ResponseStatus.TOO_BIG),
    (floods, ResponseStatus.TOO_BIG),
    (sends(b"", status=302, Location="http://169.254.169.254/"), ResponseStatus.REFUSED),
    (error(401, "Incorrect API key provided"), ResponseStatus.REFUSED),
    (error(404, "no such model"), ResponseStatus.REFUSED),
    (error(400, "This has 9,000 tokens.", code="context_length_exceeded"), ResponseStatus.TOO_LONG),
    (error(413, "prompt is too long"), ResponseStatus.TOO_LONG),
    (sends(b"<h1>502</h1>", status=502, kind="text/html"), ResponseStatus.BUSY),
    (breaks_off, ResponseStatus.BUSY),
]  # fmt: skip


def test_each_misbehavior_has_a_name(fake: Fake) -> None:
    started = time.monotonic()
    for reply, outcome in MISBEHAVIOR:
        fake.replies = [reply]
        completion = ask(fake, structured="free", logprobs=False)
        assert completion.status == outcome, completion
        assert len(completion.detail) <= 300
    assert time.monotonic() - started < MAX_SECONDS


def test_a_thought_that_took_every_token_is_counted_and_ends_no_run(fake: Fake) -> None:
    fake.replies = [says(None, finish="length")]
    completion = ask(fake)
    assert (completion.status, completion.content, completion.text, completion.confidence) == (
        ResponseStatus.CUT_OFF,
        "",
        "",
        {},
    )
    assert (completion.tokens, completion.output_tokens, completion.estimated) == (120, 20, False)
    breaker = CircuitBreaker("today")
    for _ in range(20):
        breaker.record(completion)


def test_an_answer_without_an_end_is_given_up_when_its_time_is_over(fake: Fake) -> None:
    for reply in (hangs, fakes.trickles, fakes.trickles_headers):
        fake.replies = [reply]
        started = time.monotonic()
        completion = ask(fake, timeout_seconds=0.3)
        assert completion.status == ResponseStatus.TIMEOUT
        assert "0.3 s" in completion.detail
        assert 0.2 < time.monotonic() - started < MAX_SECONDS


def test_no_server_is_unreachable(fake: Fake) -> None:
    completion = ask(fake, url="http://127.0.0.1:9/v1")
    assert completion.status == ResponseStatus.UNREACHABLE
    assert completion.attempts == module.MAX_ATTEMPTS


def test_an_internal_address_is_not_called(fake: Fake, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    completion = ask(fake)
    assert completion.status == ResponseStatus.UNREACHABLE
    assert "internal address" in completion.detail
    assert not fake.asked


def test_a_server_that_stays_busy_is_given_up(fake: Fake) -> None:
    fake.replies = [error(429, "You exceeded your current quota")]
    completion = ask(fake)
    assert (completion.status, completion.attempts, completion.http_status) == (
        ResponseStatus.BUSY,
        module.MAX_ATTEMPTS,
        429,
    )
    assert completion.detail == "HTTP 429: You exceeded your current quota"


def test_it_waits_as_long_as_the_server_asks(fake: Fake) -> None:
    fake.replies = [error(500, "later"), error(429, "later", Retry_After="0.3"), says(GOOD)]
    started = time.monotonic()
    completion = ask(fake)
    assert (completion.status, completion.attempts) == (ResponseStatus.VALID, 3)
    assert time.monotonic() - started >= 0.3
    for value in ("-5", "soon", "Wed, 21 Oct 2099 07:28:00 GMT", "1e999"):
        assert 0 <= module._retry_after(value) <= module.MAX_BACKOFF_SECONDS


def test_stopping_ends_the_waiting(fake: Fake) -> None:
    fake.replies = [error(429, "later", Retry_After="60")]
    stop = threading.Event()
    client = OpenAIClient(EndpointConfig(fake.url, "fake-1"), stop)
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    completion = client.complete(TURNS, COMPILED)
    client.close()
    assert completion.status == ResponseStatus.WAITING, "it can be asked about by the next run"
    assert time.monotonic() - started < MAX_SECONDS


# -- the key -----------------------------------------------------------------------------------------------------------


def test_the_key_goes_into_the_header_and_nowhere_else(fake: Fake) -> None:
    ask(fake, key="sk-secret")
    assert fake.headers[0]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in str(fake.asked)
    assert "sk-secret" not in repr(EndpointConfig(fake.url, "m", key="sk-secret"))
    ask(fake)
    assert "Authorization" not in fake.headers[1]


def test_the_json_in_an_answer_is_found() -> None:
    for content, expected in (
        ('{"a":1}', '{"a":1}'),
        ('```\n{"a":1}\n```', '{"a":1}'),
        ('<think>{"no":0}</think>\n{"a":1}', '{"a":1}'),
        ('It is {"a":{"b":1}}.', '{"a":{"b":1}}'),
        ('{"a":', '{"a":'),
        ("no braces", "no braces"),
    ):
        start, text = extract_json(content)
        assert (text, content[start:].startswith(text)) == (expected, True)


def test_a_server_that_repeats_the_key_does_not_get_it_shown(fake: Fake) -> None:
    fake.replies = [error(401, "Incorrect API key provided: sk-secret\0!")]
    completion = ask(fake, key="sk-secret")
    assert completion.detail == "HTTP 401: Incorrect API key provided: *** !"

"""Options that a client detects, and reasoning models."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from evaluation.inference.clients.openai_client import OpenAIClient
from evaluation.inference.clients.openai_options import EndpointConfig
from evaluation.inference.completion import Completion, ResponseStatus
from slmstudio.contract.schema.compiled import dumps
from tests.evaluation import fake_openai as fakes
from tests.evaluation.fake_openai import (
    GOOD,
    Fake,
    error,
    hangs,
    reasons,
    refuses,
    says,
    sends,
)
from tests.evaluation.openai_calls import COMPILED, TURNS, ask


def asked_twice(fake: Fake, **changes: Any) -> tuple[OpenAIClient, Completion]:
    """A client that has asked twice, and what came the second time."""
    client = OpenAIClient(replace(EndpointConfig(fake.url, "fake-1", timeout_seconds=5), **changes), threading.Event())
    try:
        client.complete(TURNS, COMPILED)
        return client, client.complete(TURNS, COMPILED)
    finally:
        client.close()


@pytest.mark.parametrize(
    ("first", "known"), [("max_completion_tokens", "max_tokens"), ("max_tokens", "max_completion_tokens")]
)
def test_the_limit_is_sent_by_the_name_that_the_server_knows(fake: Fake, first: str, known: str) -> None:
    other = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}[known]
    fake.replies = [refuses(other, says(GOOD))]
    client, completion = asked_twice(fake, limit_name=first)
    assert (completion.status, completion.attempts, client.options["limit_name"]) == (ResponseStatus.VALID, 1, known)
    assert (known in fake.asked[-1], other in fake.asked[-1]) == (True, False)
    assert client.options["response_format"] == "json_schema", "nothing else is given up for it"


def test_a_server_that_passes_over_the_limit_is_asked_by_its_other_name(fake: Fake) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 900, "total_tokens": 1000}
    fake.replies = [sends(dumps({**fakes.completion(GOOD), "usage": usage}).encode()), says(GOOD)]
    client, _ = asked_twice(fake, max_tokens=100)
    assert client.options["limit_name"] == "max_tokens"
    assert "max_tokens" in fake.asked[-1]


def test_nothing_is_asked_twice_for_a_limit_whose_name_is_known_or_that_is_too_high(fake: Fake) -> None:
    fake.replies = [hangs, says(GOOD)]
    client, _ = asked_twice(fake, timeout_seconds=0.2, limit_known=True)
    assert (client.options["limit_name"], len(fake.asked)) == ("max_completion_tokens", 2)
    fake.asked.clear()
    fake.replies = [error(400, "max_tokens is too large: 131072. At most 16384.", param="max_completion_tokens")]
    assert (ask(fake).status, len(fake.asked)) == (ResponseStatus.REFUSED, 1)


def test_a_slow_first_answer_does_not_lose_the_name_of_the_limit(fake: Fake) -> None:
    fake.replies = [hangs, reasons(GOOD)]
    client, completion = asked_twice(fake, timeout_seconds=0.2, logprobs=False, temperature=False)
    assert (completion.status, client.options["limit_name"]) == (ResponseStatus.VALID, "max_completion_tokens")
    assert client.options["response_format"] == "json_schema"


@pytest.mark.parametrize(("mistral", "known"), [(True, False), (False, True)])
def test_a_list_of_what_is_refused_is_read(fake: Fake, mistral: bool, known: bool) -> None:
    loc = ["body", "max_completion_tokens"] if known else []
    listed = {"detail": [{"type": "extra_forbidden", "loc": loc, "msg": "Extra inputs are not permitted"}]}
    told = {"object": "error", "message": listed, "param": None} if mistral else listed
    refusal = sends(dumps(told).encode(), status=422)

    def reply(handler: fakes.Handler, body: dict[str, Any]) -> None:
        (refusal if "max_completion_tokens" in body else says(GOOD))(handler, body)

    fake.replies = [reply]
    completion = ask(fake)
    assert (completion.status, len(fake.asked)) == (ResponseStatus.VALID, 2)
    assert fake.asked[-1]["response_format"]["type"] == "json_schema"


def test_a_reasoning_effort_that_is_refused_is_not_left_out(fake: Fake) -> None:
    fake.replies = [reasons(GOOD)]
    completion = ask(fake, reasoning_effort="enormous", logprobs=False)
    assert completion.status == ResponseStatus.REFUSED
    assert "enormous" in completion.detail


def test_a_thought_that_takes_all_tokens_is_cut_off_and_paid_for(fake: Fake) -> None:
    fake.replies = [reasons(GOOD, thought=500)]
    completion = ask(fake, max_tokens=200)
    assert (completion.status, completion.output_tokens, completion.reasoning_tokens) == (
        ResponseStatus.CUT_OFF,
        200,
        200,
    )


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_a_thought_in_a_field_of_its_own_is_no_part_of_the_answer(fake: Fake, field: str) -> None:
    body = fakes.completion(GOOD)
    body["choices"][0]["message"][field] = 'Perhaps {"id": "B-9", "total": 1}'
    fake.replies = [sends(dumps(body).encode())]
    completion = ask(fake)
    assert (completion.status, completion.text, completion.content) == (ResponseStatus.VALID, GOOD, GOOD)


def test_thinking_is_dropped_before_the_answer_is_read(fake: Fake) -> None:
    for content, finish, outcome, text in (
        (f'<think>Is it {{"id": "B"}}?</think>\n{GOOD}', "stop", ResponseStatus.VALID, GOOD),
        (f"<thinking>Well.</thinking>{GOOD}", "stop", ResponseStatus.VALID, GOOD),
        (f'Is it {{"id": "B"}}?</think>{GOOD}', "stop", ResponseStatus.VALID, GOOD),
        (f"<think>It must be {GOOD}, or", "length", ResponseStatus.CUT_OFF, ""),
        (f"<think>It must be {GOOD}, or", "stop", ResponseStatus.EMPTY, ""),
        ('{"id": "</think>", "total": 1}', "stop", ResponseStatus.VALID, '{"id": "</think>", "total": 1}'),
    ):
        fake.replies = [says(content, finish=finish)]
        completion = ask(fake)
        assert (completion.status, completion.text) == (outcome, text), content

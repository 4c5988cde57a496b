"""The fake server takes and gives what OpenAI documents: held to the types of their own client, and driven by it."""

import json
import threading
from typing import Any, get_type_hints

import openai
import pytest
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import ConfigDict, TypeAdapter, with_config

from evaluation.inference.clients.openai_client import OpenAIClient
from evaluation.inference.clients.openai_options import EndpointConfig
from evaluation.inference.completion import ResponseStatus
from tests.evaluation.fake_openai import GOOD, Fake, completion, error, pieces, reasons, says
from tests.evaluation.openai_calls import COMPILED, TURNS


@pytest.fixture
def fake(fake: Fake) -> Fake:
    fake.replies = [says(GOOD, logprobs=pieces((GOOD, 0.5)))]
    return fake


@pytest.fixture
def client(fake: Fake) -> openai.OpenAI:
    return openai.OpenAI(base_url=fake.url, api_key="sk-test", max_retries=0)


@pytest.mark.parametrize(
    "body",
    [
        completion(GOOD),
        completion(GOOD, logprobs=pieces(("a", 0.5), ("é", 0.25))),
        completion(None, finish="length"),  # a message may have no text
    ],
)
def test_the_answers_of_the_fake_are_completions_as_documented(body: dict[str, Any]) -> None:
    parsed = ChatCompletion.model_validate(body, strict=True, extra="forbid")
    assert json.loads(parsed.model_dump_json(exclude_unset=True)) == json.loads(json.dumps(body))


def asked(client: openai.OpenAI, **more: Any) -> ChatCompletion:
    answer: ChatCompletion = client.chat.completions.create(
        model="fake-1", messages=[{"role": "user", "content": "x"}], **more
    )
    return answer


def test_their_client_understands_the_fake(client: openai.OpenAI) -> None:
    answer = asked(client, logprobs=True, max_tokens=10)
    assert (answer.choices[0].message.content, answer.choices[0].logprobs is None) == (GOOD, False)
    assert answer.usage is not None
    assert answer.usage.total_tokens == 120


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, openai.BadRequestError), (429, openai.RateLimitError)],
)
def test_their_client_understands_the_errors_of_the_fake(
    fake: Fake, client: openai.OpenAI, status: int, kind: type[openai.APIStatusError]
) -> None:
    fake.replies = [error(status, "the reason", code="a_code")]
    with pytest.raises(kind) as caught:
        asked(client)
    assert caught.value.body == {
        "message": "the reason", "type": "invalid_request_error", "param": None, "code": "a_code"
    }  # fmt: skip


@pytest.mark.parametrize("structured", ["json_schema", "json_object", "free"])
def test_what_the_studio_sends_is_a_request_as_documented(fake: Fake, structured: str) -> None:
    client = OpenAIClient(EndpointConfig(fake.url, "fake-1", structured=structured), threading.Event())
    answer = client.complete(TURNS, COMPILED)
    client.close()
    assert answer.status == ResponseStatus.VALID
    assert answer.confidence == pytest.approx({"id": 0.5, "total": 0.5})
    [body] = fake.asked
    assert set(body) <= set(get_type_hints(CompletionCreateParamsNonStreaming)), "no parameter of our own"
    strict = with_config(ConfigDict(extra="forbid"))(CompletionCreateParamsNonStreaming)
    TypeAdapter(strict).validate_python(body)


@pytest.fixture
def reasoner(fake: Fake) -> Fake:
    fake.replies = [reasons(GOOD)]
    return fake


def test_a_reasoning_model_refuses_by_name(reasoner: Fake, client: openai.OpenAI) -> None:
    sent: list[tuple[str, Any, str]] = [
        ("max_tokens", 10, "unsupported_parameter"),
        ("temperature", 0, "unsupported_value"),
        ("logprobs", True, "unsupported_parameter"),
    ]
    for param, value, code in sent:
        with pytest.raises(openai.BadRequestError) as caught:
            asked(client, **{param: value})
        assert (caught.value.param, caught.value.code) == (param, code)


def test_their_client_understands_a_thought(reasoner: Fake, client: openai.OpenAI) -> None:
    for limit, finish, content, tokens in ((200, "stop", GOOD, 84), (64, "length", "", 64)):
        answer = asked(client, max_completion_tokens=limit, reasoning_effort="low")
        assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == (finish, content)
        assert answer.usage is not None
        assert answer.usage.completion_tokens_details is not None
        assert (answer.usage.completion_tokens, answer.usage.completion_tokens_details.reasoning_tokens) == (tokens, 64)


@pytest.mark.parametrize("structured", ["auto", "free"])
def test_the_studio_asks_a_reasoning_model_as_documented(reasoner: Fake, structured: str) -> None:
    config = EndpointConfig(reasoner.url, "fake-1", structured=structured, reasoning_effort="high")
    client = OpenAIClient(config, threading.Event())
    first, second = client.complete(TURNS, COMPILED), client.complete(TURNS, COMPILED)
    client.close()
    assert (first.status, second.status, second.attempts) == (ResponseStatus.VALID, ResponseStatus.VALID, 1)
    assert (first.output_tokens, first.reasoning_tokens, first.estimated) == (84, 64, False)
    taken = reasoner.asked[-1]
    assert taken["reasoning_effort"] == "high"
    assert not {"max_tokens", "temperature", "logprobs"} & set(taken)
    assert ("response_format" in taken) == (structured != "free"), "no less is asked for than it can do"
    strict = with_config(ConfigDict(extra="forbid"))(CompletionCreateParamsNonStreaming)
    for body in reasoner.asked:
        TypeAdapter(strict).validate_python(body)

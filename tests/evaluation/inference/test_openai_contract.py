"""The fake server takes and gives what OpenAI documents: held to the types of their own client, and driven by it."""

import threading
from collections.abc import Iterator
from typing import Any, get_type_hints

import openai
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import ConfigDict, TypeAdapter, with_config

from evaluation.inference.clients.openai_client import OpenAIClient
from evaluation.inference.clients.openai_options import EndpointConfig
from evaluation.inference.completion import ResponseStatus
from tests.evaluation import fake_openai as fakes
from tests.evaluation.fake_openai import GOOD, Fake, pieces, reasons, says
from tests.evaluation.openai_calls import COMPILED, TURNS


@pytest.fixture
def fake(settings: Any) -> Iterator[Fake]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with fakes.running() as server:
        server.replies = [says(GOOD, logprobs=pieces((GOOD, 0.5)))]
        yield server


@pytest.fixture
def client(fake: Fake) -> openai.OpenAI:
    return openai.OpenAI(base_url=fake.url, api_key="sk-test", max_retries=0)


@pytest.mark.parametrize("structured", ["json_schema", "json_object", "free"])
def test_what_the_studio_sends_is_a_request_as_documented(fake: Fake, structured: str) -> None:
    client = OpenAIClient(EndpointConfig(fake.url, "fake-1", structured=structured), threading.Event())
    completion = client.complete(TURNS, COMPILED)
    client.close()
    assert completion.status == ResponseStatus.VALID
    assert completion.confidence == pytest.approx({"id": 0.5, "total": 0.5})
    [body] = fake.asked
    assert set(body) <= set(get_type_hints(CompletionCreateParamsNonStreaming)), "no parameter of our own"
    strict = with_config(ConfigDict(extra="forbid"))(CompletionCreateParamsNonStreaming)
    TypeAdapter(strict).validate_python(body)


@pytest.fixture
def reasoner(fake: Fake) -> Fake:
    fake.replies = [reasons(GOOD)]
    return fake


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"max_tokens": 10}, "max_tokens", "unsupported_parameter"),
        ({"temperature": 0}, "temperature", "unsupported_value"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
    ],
)
def test_a_reasoning_model_refuses_by_name(
    reasoner: Fake, client: openai.OpenAI, asked: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="fake-1", messages=[{"role": "user", "content": "x"}], **asked)
    assert (caught.value.param, caught.value.code) == (param, code)


@pytest.mark.parametrize("structured", ["auto", "json_schema", "free"])
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

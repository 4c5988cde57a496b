"""The OpenAI-compatible interface, with the official client and LangChain over real sockets."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from openai import OpenAI
from pydantic import SecretStr

from tests.servers import in_event_loop
from tests.serving.gateway.rig import RAW, TEXT, answering, reply
from tests.stack.test_serve import free_port


@contextlib.contextmanager
def served(folder: Path, **changes: Any) -> Iterator[str]:
    """A gateway on a port of this machine, in a thread; its replica answers everything the same."""
    port, ready, stop = free_port(), threading.Event(), threading.Event()

    async def work() -> None:
        async with answering(folder, reply(**changes), number=3) as (gateway, _):
            app = gateway.client._transport.app  # type: ignore[attr-defined]
            async with in_event_loop(app, port=port):
                ready.set()
                await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert ready.wait(20)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway."""
    with served(tmp_path_factory.mktemp("gateway")) as url:
        yield url


@pytest.fixture
def client(address: str) -> OpenAI:
    """The official client."""
    return OpenAI(base_url=address, api_key="good", max_retries=0)


def test_the_official_client_gets_the_output(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="invoices",
        messages=[{"role": "system", "content": "Extract."}, {"role": "user", "content": TEXT}],
        temperature=0.3,
        response_format={"type": "json_object"},
    )
    assert answer.choices[0].message.content == RAW
    assert (answer.model, answer.choices[0].finish_reason) == ("invoices@3", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (30, 12, 42)


def test_a_stream_has_the_same_output_and_its_usage(client: OpenAI) -> None:
    events = list(
        client.chat.completions.create(
            model="invoices@3",
            messages=[{"role": "user", "content": [{"type": "text", "text": TEXT}]}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == RAW
    assert events[-1].usage is not None
    assert events[-1].usage.total_tokens == 42
    assert [event.choices[0].finish_reason for event in events if event.choices][-1] == "stop"


def test_langchain_works_unchanged(address: str) -> None:
    model = ChatOpenAI(base_url=address, api_key=SecretStr("good"), model="invoices")
    assert model.invoke(TEXT).content == RAW
    assert "".join(str(chunk.content) for chunk in model.stream(TEXT)) == RAW


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["invoices", "invoices@3"]
    assert client.models.retrieve("invoices@3").id == "invoices@3"


def test_errors_are_those_of_the_client(client: OpenAI, address: str, tmp_path: Path) -> None:
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
    for values, error, code in (
        ({"model": "receipts"}, openai.NotFoundError, "project"),
        ({"model": "invoices@x"}, openai.NotFoundError, "model_not_found"),
        ({"messages": [{"role": "user", "content": " "}]}, openai.UnprocessableEntityError, "field"),
        ({"messages": [picture]}, openai.UnprocessableEntityError, "field"),
    ):
        request: Any = {"model": "invoices", "messages": [{"role": "user", "content": TEXT}], **values}
        with pytest.raises(error) as caught:
            client.chat.completions.create(**request)
        assert caught.value.code == code
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=address, api_key="bad", max_retries=0).models.list()
    with served(tmp_path, raw="I am sorry") as other:
        client = OpenAI(base_url=other, api_key="good", max_retries=0)
        with pytest.raises(openai.InternalServerError) as failed:
            client.chat.completions.create(model="invoices", messages=[{"role": "user", "content": TEXT}])
        assert failed.value.code == "invalid_output"

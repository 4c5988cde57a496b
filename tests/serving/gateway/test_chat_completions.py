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
from tests.serving.gateway.rig import RAW, TEXT, backend, release, reply, rig, route
from tests.stack.test_serve import free_port


@contextlib.contextmanager
def served(folder: Path, **changes: Any) -> Iterator[str]:
    """A gateway on a port of this machine, in a thread; its replica answers everything the same."""
    port, ready, stop = free_port(), threading.Event(), threading.Event()

    async def work() -> None:
        async with backend(folder / "a", reply(**changes)) as one:
            async with rig(folder, route(release(3, one.address))) as found:
                app = found.client._transport.app  # type: ignore[attr-defined]
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
    with served(tmp_path_factory.mktemp("gateway")) as found:
        yield found


@pytest.fixture
def client(address: str) -> OpenAI:
    """The official client."""
    return OpenAI(base_url=address, api_key="good", max_retries=0)


def test_the_official_client_gets_the_output(client: OpenAI) -> None:
    found = client.chat.completions.create(
        model="invoices",
        messages=[{"role": "system", "content": "Extract."}, {"role": "user", "content": TEXT}],
        temperature=0.3,
        response_format={"type": "json_object"},
    )
    assert found.choices[0].message.content == RAW
    assert (found.model, found.choices[0].finish_reason) == ("invoices@3", "stop")
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (30, 12, 42)


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


@pytest.mark.parametrize(
    ("values", "error", "code"),
    [
        ({"model": "receipts"}, openai.NotFoundError, "project"),
        ({"model": "invoices@9"}, openai.NotFoundError, "version"),
        ({"model": "invoices@x"}, openai.NotFoundError, "model_not_found"),
        ({"messages": []}, openai.UnprocessableEntityError, "field"),
        ({"messages": [{"role": "user", "content": " "}]}, openai.UnprocessableEntityError, "field"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            openai.UnprocessableEntityError,
            "field",
        ),
        ({"n": 2}, openai.UnprocessableEntityError, "field"),
    ],
)
def test_errors_are_those_of_the_client(client: OpenAI, values: Any, error: Any, code: str) -> None:
    request = {"model": "invoices", "messages": [{"role": "user", "content": TEXT}], **values}
    with pytest.raises(error) as caught:
        client.chat.completions.create(**request)
    assert caught.value.code == code


def test_a_wrong_token_and_an_invalid_output(address: str, tmp_path: Path) -> None:
    stranger = OpenAI(base_url=address, api_key="bad", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with served(tmp_path, raw="I am sorry") as other:
        client = OpenAI(base_url=other, api_key="good", max_retries=0)
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="invoices", messages=[{"role": "user", "content": TEXT}])
        assert caught.value.code == "invalid_output"

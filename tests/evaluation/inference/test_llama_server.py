"""The client of endpoints against a real llama.cpp server: what it sends is understood, what comes back is read."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from evaluation.endpoints.services import _SAMPLE_TEXT
from evaluation.inference.clients.document_client import DocumentClient
from evaluation.inference.clients.openai_options import TOKEN_LIMIT_PARAMETERS, EndpointConfig
from evaluation.inference.completion import ANSWERED, Completion, ResponseStatus
from slmstudio.contract.schema.compiled import compile_schema
from tests.evaluation import llama_server

pytestmark = [pytest.mark.real_model, pytest.mark.slow]
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["invoice_id", "total_amount"],
    "properties": {"invoice_id": {"type": "string", "maxLength": 20}, "total_amount": {"type": "number"}},
}
COMPILED = compile_schema(SCHEMA)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llama_server.running() as config:
        yield config


@pytest.fixture(autouse=True)
def allowed(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]


def ask(url: str, **changes: Any) -> tuple[Completion, dict[str, Any]]:
    """What it says about an invoice, and how it was asked in the end."""
    config = EndpointConfig(url, "any", max_tokens=40, **changes)
    instruction = "Extract the number of the invoice and its total."
    client = DocumentClient(config, COMPILED, instruction, threading.Event())
    try:
        return client.read(_SAMPLE_TEXT), client.options
    finally:
        client.close()


def test_held_to_the_schema_it_fits_and_says_how_sure_it_is(url: str) -> None:
    completion, way = ask(url)
    assert completion.status == ResponseStatus.VALID, (completion.detail, completion.text)
    assert (way["response_format"], way["logprobs"]) == ("json_schema", True)
    assert set(completion.confidence) == {"invoice_id", "total_amount"}
    assert all(0 < sure <= 1 for sure in completion.confidence.values())
    assert completion.tokens > 100
    assert not completion.estimated


@pytest.mark.parametrize("structured", ["json_object", "free"])
def test_asked_for_less_it_still_ends_with_a_named_answer(url: str, structured: str) -> None:
    completion, way = ask(url, structured=structured)
    assert completion.status in ANSWERED
    assert way["response_format"] == structured


def test_the_limit_of_tokens_is_kept_by_the_name_that_it_knows(url: str) -> None:
    completion, way = ask(url, structured="free")
    assert way["limit_name"] in TOKEN_LIMIT_PARAMETERS
    assert completion.output_tokens <= 40, "the limit of max_completion_tokens is not passed over"


def test_too_slow_is_given_up_in_time(url: str) -> None:
    completion, _ = ask(url, timeout_seconds=0.05)
    assert completion.status == ResponseStatus.TIMEOUT
    assert completion.seconds < 2


def test_another_path_is_refused_and_not_asked_again(url: str) -> None:
    completion, _ = ask(f"{url}/elsewhere")
    assert (completion.status, completion.http_status, completion.attempts) == (ResponseStatus.REFUSED, 404, 1)

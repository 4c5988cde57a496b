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


def test_asked_for_less_it_still_ends_with_a_named_answer_within_its_limit(url: str) -> None:
    for structured in ("json_object", "free"):
        completion, options = ask(url, structured=structured)
        assert completion.status in ANSWERED
        assert options["response_format"] == structured
        assert options["limit_name"] in TOKEN_LIMIT_PARAMETERS
        assert completion.output_tokens <= 40, "the limit is not passed over"

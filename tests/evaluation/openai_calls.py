"""Calls of a model behind a fake endpoint."""

import threading
from dataclasses import replace
from typing import Any

from evaluation.inference.clients.openai_client import OpenAIClient
from evaluation.inference.clients.openai_options import EndpointConfig
from evaluation.inference.completion import Completion
from slmstudio.contract.schema.compiled import compile_schema, dumps, loads
from tests.evaluation.fake_openai import Fake
from training.prompts import chat, prompt_schema

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "x-slm": {"kind": "exact"}},
        "total": {"type": ["number", "null"], "multipleOf": 0.01},
    },
    "required": ["id", "total"],
    "additionalProperties": False,
}
COMPILED = compile_schema(loads(dumps(SCHEMA)))  # fractions are Decimal, as in the database
TURNS = chat(instruction="Extract.", document="Invoice A-1, total 2.50", schema_text=dumps(prompt_schema(SCHEMA)))


def ask(fake: Fake, **changes: Any) -> Completion:
    """The completion of one document."""
    config = replace(EndpointConfig(fake.url, "fake-1", timeout_seconds=5), **changes)
    client = OpenAIClient(config, threading.Event())
    try:
        return client.complete(TURNS, COMPILED)
    finally:
        client.close()

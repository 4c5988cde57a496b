"""The tiny model's prompts for engines that ask a server, and the servers they ask."""

import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from evaluation.ml.prompts import PromptBuilder, TokenLimit
from serving.packages.spec import OutputTokens, ServeSpec
from slmstudio.contract.schema.compiled import compile_schema
from tests.training.ml_data import INSTRUCTION, SCHEMA, tiny
from training.ml.lengths import load_encoder
from training.spec import ContractRef

TEXT = "Invoice A-100\ntotal 1.50"
RAW = '{"invoice_id":"A-100","total":"1.50"}'


def served(engine: Any, *, schema: Any = SCHEMA, **changes: Any) -> tuple[ServeSpec, PromptBuilder]:
    """The spec of a package with the prompts of the tiny model."""
    spec = ServeSpec(
        engine=engine,
        contract=ContractRef(instruction=INSTRUCTION, schema=schema),
        output_tokens=OutputTokens(reserved=40, maximum=60),
        **{"name": "invoices-1", "context": 512, **changes},
    )
    encoder = load_encoder(str(tiny()), spec.prompt)
    builder = PromptBuilder(spec, compile_schema(schema), encoder, spec.context, TokenLimit(40, 60), None)
    return spec, builder


@contextlib.asynccontextmanager
async def listening(*routes: web.RouteDef) -> AsyncIterator[str]:
    """The address of a server with these routes."""
    app = web.Application(client_max_size=2**30)
    app.add_routes(routes)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


def nonce_of(text: str) -> str | None:
    """The constant that a probe asks for, as its output; None in other requests."""
    found = re.search(r'"const": ?"([0-9a-f]{12})"', text)
    return json.dumps({"nonce": found[1]}, separators=(",", ":")) if found else None

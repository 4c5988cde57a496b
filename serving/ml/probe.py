"""The probe of enforcement: an engine that ignores a grammar answers 200 with free text, so it is asked for a constant
that no model would write by itself."""

import json
import secrets

from serving.ml.engines.engine import DecodingEngine
from slmstudio.errors import Refused

#: tokens that the constant may take
_TOKENS = 48


async def check_enforcement(engine: DecodingEngine) -> None:
    """Raises Refused (code ``enforcement``) where the engine does not keep to a JSON Schema."""
    nonce = secrets.token_hex(6)
    schema = {
        "type": "object",
        "properties": {"nonce": {"const": nonce}},
        "required": ["nonce"],
        "additionalProperties": False,
    }
    output = await engine.answer_prompt("Write a word.\n", json.dumps(schema), _TOKENS)
    try:
        value = json.loads(output)
    except ValueError:
        value = None
    if value != {"nonce": nonce}:
        raise Refused(
            f"The engine does not apply the schema: instead of a constant it wrote {output[:80]!r}.", code="enforcement"
        )

"""A contract derived from exchanges: the shared prompt as instruction, and the schema that was demanded or answered."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labeling.imports.conversations.answers import as_example, value_of
from labeling.imports.conversations.exchanges import Exchange
from labeling.imports.conversations.readings import Reading
from slmstudio.contract.json_text import dumps
from slmstudio.contract.sources.detection import draft_from_values, draft_schema
from slmstudio.contract.sources.drafts import Draft, SourceError


@dataclass(frozen=True, slots=True)
class ContractDraft:
    """An instruction ("" if the prompts share nothing) and a schema. ``is_demanded``: the requests name the schema."""

    instruction: str
    draft: Draft
    is_demanded: bool


def contract_draft(readings: Sequence[Reading]) -> ContractDraft:
    """The contract of the first exchanges of an upload.

    Raises:
        SourceError: no request names a schema, and no answer shows one.
    """
    exchanges = [exchange for reading in readings for exchange in reading.exchanges]
    instruction = next((reading.shared.instruction for reading in readings if reading.shared.instruction), "")
    schemas = Counter(dumps(exchange.schema) for exchange in exchanges if exchange.schema)
    if schemas:
        try:
            return ContractDraft(instruction, draft_schema(schemas.most_common(1)[0][0]), True)
        except SourceError:
            pass  # derived from the answers
    return ContractDraft(instruction, draft_from_values(_examples(exchanges)), False)


def _examples(exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
    """The answers of the most frequent kind: objects, lists or texts."""
    values = [value_of(exchange.answer) for exchange in exchanges if exchange.answer and exchange.answer.strip()]
    kinds = Counter(type(value) for value in values if value)
    kind = kinds.most_common(1)[0][0] if kinds else dict
    return [as_example(value) for value in values if value and isinstance(value, kind)]

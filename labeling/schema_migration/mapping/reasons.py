"""The reason, as text, why a schema change requeues a label. Pure."""

import re
from collections.abc import Sequence

from labeling.schema_migration.mapping.differences import difference
from slmstudio.contract.schema.compiled import CompiledSchema, Problem

#: so many problems are named
MOST_NAMED = 3
_INDEX = re.compile(r"\[\d+\]")


def reason(old: CompiledSchema, new: CompiledSchema, problems: Sequence[Problem]) -> str:
    """What of the change made a label invalid: ``field po_number is new; total must be a number``."""
    added = difference(old, new).added
    words: list[str] = []
    for problem in problems:
        is_new = problem.rule == "required" and _INDEX.sub("[]", problem.path) in added
        said = f"field {problem.path} is new" if is_new else f"{problem.path} {problem.message}".strip()
        words += [] if said in words else [said]
    more = len(words) - MOST_NAMED
    return "; ".join(words[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")

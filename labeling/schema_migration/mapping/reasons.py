"""The reason, as text, why a schema change requeues a label. Pure."""

import re
from collections.abc import Sequence

from labeling.schema_migration.mapping.differences import difference
from slmstudio.contract.schema.compiled import CompiledSchema, Problem

#: maximum number of problems in a reason
MAX_PROBLEMS = 3
_INDEX = re.compile(r"\[\d+\]")


def reason(old: CompiledSchema, new: CompiledSchema, problems: Sequence[Problem]) -> str:
    """Why a label is invalid after the change: ``field po_number is new; total must be a number``."""
    added = difference(old, new).added
    words: list[str] = []
    for problem in problems:
        is_new = problem.rule == "required" and _INDEX.sub("[]", problem.path) in added
        text = f"field {problem.path} is new" if is_new else f"{problem.path} {problem.message}".strip()
        words += [] if text in words else [text]
    more = len(words) - MAX_PROBLEMS
    return "; ".join(words[:MAX_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")

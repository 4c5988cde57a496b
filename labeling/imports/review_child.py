"""The child process that reads uploads before their import: ``python -m labeling.imports.review_child``.

It has limits of time and memory (``slmstudio.runs.limited_child``), and knows nothing of Django.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from labeling.imports.exchange_reviews import review_exchanges
from labeling.imports.formats.base import Context
from labeling.imports.formats.column_mapping import Sample
from labeling.imports.formats.registry import detect
from labeling.imports.rows import ReadError
from labeling.imports.table_reviews import preview_rows, review_table
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.runs.limited_child import serve


@lru_cache(maxsize=8)
def _compiled(schema: str) -> CompiledSchema:
    return compile_schema(loads(schema, max_characters=None))


def _context(folder: str, schema: str, options: dict[str, Any]) -> Context:
    return Context(_compiled(schema), Path(folder), options)


def _sample(path: str) -> Sample | None:
    """The stored sample of a table that is costly to open.

    Raises:
        ReadError: the table could not be read.
    """
    if not path:
        return None
    stored = json.loads(Path(path).read_text())
    if "error" in stored:
        raise ReadError(stored["error"])
    return Sample(**stored)


def _detect(path: str, name: str) -> str:
    return detect(Path(path), name).name


def _exchanges(path: str, kind: str, name: str, context: Mapping[str, Any]) -> dict[str, Any]:
    return asdict(review_exchanges(Path(path), kind, name, _context(**context)))


def _table(
    path: str, kind: str, name: str, context: Mapping[str, Any], sample: str, chosen: list[str] | dict[str, str]
) -> dict[str, Any]:
    return asdict(review_table(Path(path), kind, name, _context(**context), _sample(sample), chosen))


def _rows(path: str, kind: str, name: str, context: Mapping[str, Any], sample: str) -> dict[str, Any]:
    return asdict(preview_rows(Path(path), kind, name, _context(**context), _sample(sample)))


#: what the parent can ask
ACTIONS: Final[dict[str, Callable[..., Any]]] = {
    "detect": _detect,
    "exchanges": _exchanges,
    "table": _table,
    "rows": _rows,
}


def answer(request: str) -> str:
    """The value that an action returns, or why the file cannot be read, as JSON."""
    action, arguments = json.loads(request, parse_float=Decimal)
    try:
        return dumps({"value": ACTIONS[action](**arguments)})
    except ReadError as error:
        return dumps({"error": str(error)})
    except RecursionError:
        return dumps({"error": "It cannot be read: its values are nested too deep."})


if __name__ == "__main__":
    serve(answer)

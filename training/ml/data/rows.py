"""Rows of a frozen dataset file: JSON lines with id, split, text, gold, tags, origin and evidence."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slmstudio.contract.schema import compiled as contract
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file
from training.spec import ContractRef


@dataclass(frozen=True)
class Row:
    """One document with its gold. Fractions in ``gold`` are Decimal. ``evidence``: path -> where a person says that the
    value is in the text, start and end in characters.
    """

    id: str
    split: str
    text: str
    gold: Any
    evidence: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)


def read_rows(path: str, sha256: str = "") -> list[Row]:
    """Every row of the file, in file order.

    Raises Refused where the file is missing, its hash is not ``sha256`` (empty: not checked), or a line is broken.
    """
    if not Path(path).is_file():
        raise Refused(f"The dataset file {path} does not exist.", code="dataset")
    if sha256 and sha256_file(path) != sha256:
        raise Refused("The dataset file has changed since it was frozen: its hash differs.", code="dataset")
    rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                rows.append(_row(line, number))
    if len({row.id for row in rows}) != len(rows):
        raise Refused("The dataset file has a duplicate ID.", code="dataset")
    return rows


def _row(line: str, number: int) -> Row:
    try:
        value = contract.loads(line)
        text = _text(value["text"])
        evidence = {path: _places(places, text) for path, places in value.get("evidence", {}).items()}
        return Row(str(value["id"]), str(value["split"]), text, value["gold"], evidence)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else f"is not valid: {error}"
        raise Refused(f"Line {number} of the dataset file {what}.", code="dataset") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text must be a string")
    return value


def _places(value: Any, text: str) -> tuple[tuple[int, int], ...]:
    places = tuple((start, end) for start, end in value)
    if not all(0 <= start < end <= len(text) for start, end in places):
        raise ValueError("evidence must be in the text")
    return places


def of_split(rows: Iterable[Row], split: str) -> list[Row]:
    """The rows of one split."""
    return [row for row in rows if row.split == split]


def compiled(ref: ContractRef) -> contract.CompiledSchema:
    """The compiled schema of a contract. Raises Refused where it does not compile or its hash differs."""
    try:
        schema = contract.compile_schema(ref.schema)
    except contract.SchemaError as error:
        raise Refused(f"The schema cannot be used: {error}.", code="schema") from error
    if ref.schema_sha256 and schema.hash != ref.schema_sha256:
        raise Refused("The schema in the spec does not match its hash.", code="schema")
    return schema

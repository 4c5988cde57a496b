"""What goes out, one module per format. Pure: examples in, bytes out as they are asked for, nothing is held back."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema


@dataclass(frozen=True, slots=True)
class ExportRow:
    """A document that goes out. ``gold`` is its label with exact numbers, None where it has none; ``split`` is empty
    where it comes from no dataset version; ``metadata`` is what else was imported with it.
    """

    id: str
    text: str
    gold: Any
    tags: list[str]
    origin: str = ""
    split: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportContext:
    """What is the same for all examples of an export."""

    title: str
    instruction: str
    compiled: CompiledSchema


#: examples and what they have in common, to pieces of a file
Write = Callable[[Iterable[ExportRow], ExportContext], Iterator[bytes]]
CHUNK_LINES = 256
#: names that metadata never takes: they are those of a row's own parts
RESERVED = frozenset({"id", "text", "gold", "tags"})


def extra_columns(one: ExportRow) -> dict[str, Any]:
    """What stands beside an example's own parts: split and origin where it comes from a version, and its metadata."""
    extra = {"split": one.split, "origin": one.origin} if one.split else {}
    return {name: value for name, value in (one.metadata | extra).items() if name not in RESERVED}


def chunked(lines: Iterable[str]) -> Iterator[bytes]:
    """Lines put together to pieces of some size: one line a piece costs a system call each."""
    held: list[str] = []
    for line in lines:
        held.append(line)
        if len(held) == CHUNK_LINES:
            yield "".join(held).encode()
            held.clear()
    if held:
        yield "".join(held).encode()

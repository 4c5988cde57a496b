"""What a file of exchanges was read as: what its prompts share, its answers as values, and its contract. Pure."""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from labeling.imports.conversations.exchanges import Exchange
from labeling.imports.conversations.logs import is_batch_request
from labeling.imports.conversations.shapes import Shape
from labeling.imports.formats.column_mapping import fitting
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.output_json import extract_json, strip_reasoning
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.sources.detection import draft_from_values, draft_schema
from slmstudio.contract.sources.examples import Draft, SourceError

#: fewer different prompts can be alike by chance
MIN_PROMPTS: Final = 3
#: characters: a shorter beginning or end can be a part of the documents
MIN_PREFIX, MIN_SUFFIX = 20, 6
_BEGINNING = re.compile(r".*(?:\n|[.:!?>\"]{1,3}[ \t]+)", re.DOTALL)
_END = re.compile(r"\n.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SharedPrompt:
    """The most frequent system prompt, and the text before and after each document ("" if there is none)."""

    system: str = ""
    prefix: str = ""
    suffix: str = ""

    @property
    def instruction(self) -> str:
        """All of it, as the instruction of a contract."""
        return "\n\n".join(filter(None, (part.strip() for part in (self.system, self.prefix, self.suffix))))

    def document(self, text: str) -> str:
        """A prompt without the fixed text; the prompt itself if it lacks it."""
        if len(text) <= len(self.prefix) + len(self.suffix):
            return text
        if not (text.startswith(self.prefix) and text.endswith(self.suffix)):
            return text
        return text[len(self.prefix) : len(text) - len(self.suffix)].strip("\n") or text


def shared_prompt(exchanges: Sequence[Exchange]) -> SharedPrompt:
    """What the exchanges share. A fixed text ends at the end of a line or sentence, and all prompts have it."""
    systems = Counter(exchange.system for exchange in exchanges if exchange.system)
    system = systems.most_common(1)[0][0] if systems else ""
    prompts = list(dict.fromkeys(exchange.text for exchange in exchanges if exchange.is_single))
    if len(prompts) < MIN_PROMPTS:
        return SharedPrompt(system)
    common = _common_beginning(prompts)
    beginning = _BEGINNING.match(common)
    prefix = beginning[0] if beginning and len(beginning[0].strip()) >= MIN_PREFIX else ""
    rest = [prompt[len(prefix) :][::-1] for prompt in prompts]
    end = _END.search(_common_beginning(rest)[::-1])
    suffix = end[0] if end and _is_suffix(end[0].strip()) else ""
    if any(len(prompt) <= len(prefix) + len(suffix) for prompt in prompts):
        return SharedPrompt(system)
    return SharedPrompt(system, prefix, suffix)


def _is_suffix(text: str) -> bool:
    """Whether a common end is no part of the documents: it is long, or a separator of symbols such as ``###``."""
    return len(text) >= MIN_SUFFIX or (bool(text) and not any(map(str.isalnum, text)))


def _common_beginning(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


# -- readings ----------------------------------------------------------------------------------------------------------

#: exchanges from which the shared prompt and a contract are derived
SAMPLE: Final = 200
#: of their texts
SAMPLE_CHARACTERS: Final = 4_000_000


@dataclass
class Reading:
    """The shape of a file, what its prompts share, and its first exchanges. ``function``: which its answers call."""

    shape: Shape
    shared: SharedPrompt = field(default_factory=SharedPrompt)
    exchanges: list[Exchange] = field(default_factory=list)
    characters: int = 0
    function: str = ""

    def note(self, exchange: Exchange) -> None:
        """Keeps one of the first exchanges."""
        if len(self.exchanges) < SAMPLE and self.characters < SAMPLE_CHARACTERS:
            self.exchanges.append(exchange)
            self.characters += len(exchange.text)


# -- answers as values of the schema -----------------------------------------------------------------------------------

#: names of the only field of a derived schema, if the answers are texts or lists
TEXT_FIELD, LIST_FIELD = "answer", "items"
_FENCE: Final = "```"


def value_of(answer: str) -> Any:
    """The JSON in an answer (bare, fenced, or within a text), else the text itself."""
    text = strip_reasoning(answer).strip()
    candidates = [text, extract_json(answer)[1]]
    if text.startswith(_FENCE) and text.endswith(_FENCE):
        candidates.insert(0, text.strip("`").partition("\n")[2])
    for candidate in candidates:
        try:
            value = loads(candidate)
        except JsonError:
            continue
        if isinstance(value, dict | list):
            return value
    return text


def as_example(value: Any) -> dict[str, Any]:
    """A value as an object, from which a schema can be derived."""
    if isinstance(value, dict):
        return value
    return {LIST_FIELD: value} if isinstance(value, list) else {TEXT_FIELD: value}


def fit(value: Any, compiled: CompiledSchema) -> Any:
    """The value as the schema has it: a text or a list becomes the only field, null keys go if only that is valid."""
    names = list(compiled.schema.get("properties", ()))
    if not isinstance(value, dict) and len(names) == 1:
        value = {names[0]: value}
    return fitting(value, compiled)


# -- the contract that exchanges show ----------------------------------------------------------------------------------


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


# -- batches: the two files are joined by custom_id, in either order, on disk: neither fits into memory ----------------


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a batch: its value, number and file."""

    value: dict[str, Any]
    number: int
    file: str = ""


@dataclass
class BatchJoin:
    """Lines that have no partner yet. ``readings`` are those of its files."""

    path: Path
    readings: list[Reading] = field(default_factory=list)

    def __post_init__(self) -> None:
        # One thread reads the rows and another one closes the file.
        self._rows = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.execute(
            "CREATE TABLE line (key TEXT, request INTEGER, number INTEGER, file TEXT, value TEXT, "
            "PRIMARY KEY (key, request))"
        )

    @property
    def shared(self) -> SharedPrompt:
        """What the requests share; known once their file was opened."""
        return next((reading.shared for reading in self.readings if reading.shared.instruction), SharedPrompt())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._rows.close()
        self.path.unlink(missing_ok=True)

    def add(self, line: Line) -> tuple[Line, Line] | None:
        """The request and the response, if the partner of the line was read; else the line is kept.

        Raises:
            ValueError: a line with the id was read before.
        """
        key, is_request = line.value["custom_id"], is_batch_request(line.value)
        partner = self._rows.execute(
            "DELETE FROM line WHERE key = ? AND request = ? RETURNING number, file, value", (key, not is_request)
        ).fetchone()
        if partner is not None:
            other = Line(loads(partner[2]), partner[0], partner[1])
            return (line, other) if is_request else (other, line)
        try:
            self._rows.execute(
                "INSERT INTO line VALUES (?, ?, ?, ?, ?)", (key, is_request, line.number, line.file, dumps(line.value))
            )
        except sqlite3.IntegrityError:
            raise ValueError(f"an earlier line has the custom_id {key[:100]}") from None
        return None

    def unpaired(self) -> Iterator[tuple[Line, bool]]:
        """The lines that have no partner, and whether each is a request."""
        rows = self._rows.execute("SELECT value, number, file, request FROM line ORDER BY request, file, number")
        for value, number, file, is_request in rows:
            yield Line(loads(value), number, file), bool(is_request)

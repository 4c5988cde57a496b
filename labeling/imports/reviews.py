"""What an upload becomes before its import: the role of each column of a table; the documents, answers and contract of
a file of exchanges; the rows that would be rejected. Pure.

``python -m labeling.imports.reviews`` is the child process that reads the uploads, with limits of time and memory
(``slmstudio.runs.limited_child``).
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

from labeling.imports.conversations.readings import ContractDraft, Reading, SharedPrompt, contract_draft
from labeling.imports.formats.base import Context
from labeling.imports.formats.column_mapping import Preview, Sample, guess_roles, mapping_error, role_choices
from labeling.imports.formats.registry import COLUMNS, FORMATS, detect, open_file
from labeling.imports.rows import ParsedRow, ReadError, Row, RowError, validate_row
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.contract.sources.examples import SourceError
from slmstudio.runs.limited_child import serve

#: rows that a review reads, reasons that it names, and exchanges that it shows
_TABLE_ROWS, _EXCHANGE_ROWS = 100, 200
_TABLE_REASONS, _EXCHANGE_REASONS = 3, 5
_SHOWN: Final = 5
#: keys of metadata that most likely are labels under another name than ``gold``
_LABEL_NAMES: Final = frozenset(
    {"label", "labels", "expected", "expected_output", "target", "output", "completion", "annotation", "answer"}
)


@dataclass(frozen=True)
class StoredFile:
    """An upload to read, as an import with the options of the ``context`` would. ``sample``: the rows of a table that
    is costly to open.
    """

    path: Path
    kind: str
    name: str
    context: Context
    sample: Sample | None = None

    def rows(self) -> Iterator[ParsedRow]:
        """Those of the sample, or of the file."""
        if self.sample is not None:
            yield from self.sample.rows(self.context)
            return
        with open_file(self.path, self.kind, self.name, self.context) as opened:
            yield from opened.rows


@dataclass(frozen=True)
class ImportPreview:
    """How many of the first rows are valid, and why others are not: the first row and the reason.

    ``label_names``: where no row has gold, names of its metadata that look like labels.
    """

    rows: int
    valid: int
    reasons: list[tuple[str, str]]
    label_names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TableReview:
    """The first rows of a table and a role for every column. ``options``: those of the import, with the detected ones.

    ``error`` is why it cannot be imported; without one there is a ``preview``.
    """

    table: Preview
    roles: dict[str, str]
    options: dict[str, Any]
    error: str = ""
    preview: ImportPreview | None = None

    @property
    def fingerprint(self) -> str:
        """Tells the table from another one that other options give."""
        content = repr((self.table.names, self.table.rows))
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def review_table(file: StoredFile, chosen: Sequence[str] | Mapping[str, str]) -> TableReview:
    """Reads the first rows as an import would, and writes nothing. ``chosen``: the roles of columns, by their place (""
    as guessed) or by their name.

    Raises:
        ReadError: the table cannot be read.
    """
    context, read = file.context, FORMATS[file.kind].preview
    if file.sample is not None:
        table = file.sample.preview
    elif read is not None:
        table = read(file.path, context.options)
    else:
        raise ReadError("It is not a table.")
    if not isinstance(chosen, Mapping):
        known = role_choices(context.compiled)
        chosen = {column: role for column, role in zip(table.names, chosen, strict=False) if role in known}
    roles = {**guess_roles(table.names, context.compiled), **chosen}
    complete = {**context.options, **table.detected, COLUMNS: roles}
    if error := mapping_error(roles, table.names, context.compiled):
        return TableReview(table, roles, complete, error)
    try:
        preview = preview_rows(replace(file, context=replace(context, options=complete)))
    except ReadError as error:
        return TableReview(table, roles, complete, str(error))
    return TableReview(table, roles, complete, preview=preview)


def preview_rows(file: StoredFile) -> ImportPreview:
    """Validates the first rows as an import would.

    Raises:
        ReadError: the file cannot be read.
    """
    valid, count = list[Row](), 0
    reasons: dict[str, str] = {}
    for parsed in islice(file.rows(), _TABLE_ROWS):
        count += 1
        try:
            valid.append(validate_row(parsed, file.context.compiled))
        except RowError as error:
            reasons.setdefault(str(error), f"{parsed.file + ', ' if parsed.file else ''}row {parsed.number}")
    listed = [(where, reason) for reason, where in islice(reasons.items(), _TABLE_REASONS)]
    has_gold = any(row.gold is not None for row in valid)
    names = {name: None for row in valid for name in row.metadata if name.casefold() in _LABEL_NAMES}
    return ImportPreview(count, len(valid), listed, [] if has_gold else list(names))


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row as it would be stored. ``answer`` is JSON or text; ``problem`` is why it does not match the schema."""

    number: int
    text: str
    answer: str
    problem: str = ""


@dataclass
class ExchangeReview:
    """The first rows of an upload. ``answers`` have one, ``matching`` of them match the schema.

    ``shapes``: the titles of the shapes of its files. ``shared``: what the prompts of the first file with such a text
    share. ``contract`` is derived from the rows; without one, ``contract_error`` is why.
    """

    rows: int = 0
    valid: int = 0
    answers: int = 0
    matching: int = 0
    shown: list[ShownRow] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    shapes: str = ""
    shared: SharedPrompt | None = None
    contract: ContractDraft | None = None
    contract_error: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows."""
        return self.rows < _EXCHANGE_ROWS


def review_exchanges(file: StoredFile) -> ExchangeReview:
    """Reads the first rows as an import would, and writes nothing.

    Raises:
        ReadError: the file cannot be read.
    """
    review = ExchangeReview()
    with open_file(file.path, file.kind, file.name, file.context) as opened:
        for parsed in islice(opened.rows, _EXCHANGE_ROWS):
            _add(review, parsed, file.context.compiled)
        _add_contract(review, opened.readings)
    return review


def _add(review: ExchangeReview, parsed: ParsedRow, compiled: CompiledSchema) -> None:
    review.rows += 1
    try:
        row = validate_row(parsed, compiled)
    except RowError as error:
        if len(review.reasons) < _EXCHANGE_REASONS:
            review.reasons.setdefault(str(error), parsed.number)
        return
    review.valid += 1
    answer, problem = "", ""
    if row.predictions:
        answer = row.predictions[0].raw
        _, problems = compiled.check(answer)
        problem = f"{problems[0].path} {problems[0].message}".strip() if problems else ""
    elif row.gold is not None:
        answer = dumps(row.gold)
    if row.predictions or row.gold is not None:
        review.answers += 1
        review.matching += not problem
    if len(review.shown) < _SHOWN:
        review.shown.append(ShownRow(row.number, row.text, answer, problem))


def _add_contract(review: ExchangeReview, readings: list[Reading]) -> None:
    review.shapes = "; ".join(dict.fromkeys(reading.shape.title for reading in readings))
    review.shared = next((reading.shared for reading in readings if reading.shared.instruction), None)
    try:
        review.contract = contract_draft(readings)
    except SourceError as error:
        review.contract_error = error.message


# -- the child process -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _compiled(schema: str) -> CompiledSchema:
    return compile_schema(loads(schema, max_characters=None))


def _stored_file(
    path: str, kind: str, name: str, folder: str, schema: str, options: dict[str, Any], sample: str
) -> StoredFile:
    """A file as a request describes it; ``sample``: the path of the stored one, "" without one.

    Raises:
        ReadError: the sample could not be taken.
    """
    stored = json.loads(Path(sample).read_text()) if sample else None
    if stored and "error" in stored:
        raise ReadError(stored["error"])
    context = Context(_compiled(schema), Path(folder), options)
    return StoredFile(Path(path), kind, name, context, Sample(**stored) if stored else None)


#: what the parent can ask
ACTIONS: Final[dict[str, Callable[..., Any]]] = {
    "detect": lambda path, name: detect(Path(path), name).name,
    "exchanges": lambda **request: asdict(review_exchanges(_stored_file(**request))),
    "table": lambda chosen, **request: asdict(review_table(_stored_file(**request), chosen)),
    "rows": lambda **request: asdict(preview_rows(_stored_file(**request))),
}


def answer(request: str) -> str:
    """The value that an action returns, or why the file cannot be read, as JSON."""
    action, arguments = json.loads(request, parse_float=Decimal)
    try:
        return dumps({"value": ACTIONS[action](**arguments)})
    except ReadError as error:
        return dumps({"error": str(error)})
    except RecursionError:
        return dumps({"error": "It cannot be read: its values are nested too deeply."})


if __name__ == "__main__":
    serve(answer)

"""What a file of exchanges becomes, before its import: documents, answers, instruction and contract. Pure."""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from labeling.imports.conversations.contract_drafts import ContractDraft, contract_draft
from labeling.imports.conversations.readings import Reading
from labeling.imports.conversations.shared_prompt import SharedPrompt
from labeling.imports.formats.base import Context
from labeling.imports.formats.registry import open_file
from labeling.imports.rows import ParsedRow, RowError, validate_row
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.sources.drafts import SourceError

_ROWS, _SHOWN = 200, 5
_MAX_REASONS: Final = 5


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
        return self.rows < _ROWS


def review_exchanges(path: Path, kind: str, name: str, context: Context) -> ExchangeReview:
    """Reads the first rows as an import would, and writes nothing.

    Raises:
        ReadError: the file cannot be read.
    """
    review = ExchangeReview()
    with open_file(path, kind, name, context) as opened:
        for parsed in islice(opened.rows, _ROWS):
            _add(review, parsed, context.compiled)
        _add_contract(review, opened.readings)
    return review


def _add(review: ExchangeReview, parsed: ParsedRow, compiled: CompiledSchema) -> None:
    review.rows += 1
    try:
        row = validate_row(parsed, compiled)
    except RowError as error:
        if len(review.reasons) < _MAX_REASONS:
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

"""What a file of exchanges becomes, before its import: documents, answers, instruction and contract."""

import tempfile
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from labeling.imports import uploads
from labeling.imports.conversations.contract_drafts import ContractDraft, contract_draft
from labeling.imports.conversations.readings import Reading
from labeling.imports.conversations.shared_prompt import SharedPrompt
from labeling.imports.formats.base import Context
from labeling.imports.formats.registry import open_file
from labeling.imports.rows import ParsedRow, ReadError, RowError, validate_row
from labeling.imports.uploads import Upload
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.errors import Refused

_ROWS, _SHOWN = 200, 5
_MAX_REASONS: Final = 5
#: under which a file is read that has no project yet
_NO_SCHEMA: Final = {"type": "object", "properties": {"answer": {"type": "string"}}}


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row as it would be stored. ``answer`` is JSON or text; ``problem`` is why it does not match the schema."""

    number: int
    text: str
    answer: str
    problem: str = ""


@dataclass
class ExchangeReview:
    """The first rows of an upload. ``answers`` have one, ``matching`` of them match the schema."""

    readings: list[Reading]
    rows: int = 0
    valid: int = 0
    answers: int = 0
    matching: int = 0
    shown: list[ShownRow] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows."""
        return self.rows < _ROWS

    @property
    def shapes(self) -> str:
        """The titles of the shapes of its files."""
        return "; ".join(dict.fromkeys(reading.shape.title for reading in self.readings))

    @property
    def shared(self) -> SharedPrompt | None:
        """What the prompts of the first file with such a text share."""
        found = [reading.shared for reading in self.readings if reading.shared.instruction]
        return found[0] if found else None

    def contract(self) -> ContractDraft:
        """The derived contract.

        Raises:
            SourceError: it cannot be derived.
        """
        return contract_draft(self.readings)


def review_upload(upload: Upload, options: dict[str, Any], compiled: CompiledSchema | None = None) -> ExchangeReview:
    """Reads the first rows as an import with these options would, and writes nothing.

    Raises:
        Refused: the file cannot be read, or is no longer stored.
    """
    compiled = compiled or compile_schema(_NO_SCHEMA)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="preview-") as folder,
            uploads.local_path(upload.key) as path,
            open_file(path, upload.kind, upload.name, Context(compiled, Path(folder), options)) as opened,
        ):
            review = ExchangeReview(opened.readings)
            for parsed in islice(opened.rows, _ROWS):
                _add(review, parsed, compiled)
            return review
    except ReadError as error:
        raise Refused(str(error)) from None
    except FileNotFoundError:
        raise Refused("The uploaded file is no longer available. Upload it again.") from None


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

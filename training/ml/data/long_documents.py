"""Documents over the sequence length as training rows of their windows."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.windows.gold import window_gold, window_schema
from slmstudio.contract.windows.windows import split_windows
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row
from training.ml.lengths import EncodedRow, WindowOfRow, encode_rows
from training.spec import RunSpec, WindowPlan

#: tokens of a text below which it is not split further
MIN_WINDOW = 16
#: how much longer than usual for its text the output of a window may be
_ANSWER_MARGIN = 1.25
#: the longest documents, by which the length of outputs is estimated where none is over the limit
_MEASURED_ROWS = 20


def window_size(room: int, ratio: float) -> int:
    """Tokens of the text of a window, so that it and its output fit into ``room`` tokens.

    ``ratio``: tokens of an output by those of its text.
    """
    return int(room / (1 + _ANSWER_MARGIN * ratio))


class LongDocuments:
    """Splits the documents over the sequence length of a run, or drops them where it asks for that.

    ``left_out``: what was dropped, also because even the smallest windows do not fit.
    """

    def __init__(self, train: Sequence[EncodedRow], spec: RunSpec, schema: CompiledSchema, encoder: Encoder) -> None:
        """``train``: all training documents, which decide the size of windows."""
        self._spec = spec
        self._schema = schema
        self._part_schema = window_schema(schema)
        self._encoder = encoder
        self.left_out: list[dict[str, Any]] = []
        whole = [row for row in train if row.length <= spec.max_length]
        long = [row for row in train if row.length > spec.max_length] if spec.too_long == "windows" else []
        self._whole = max((len(row.prompt) for row in whole), default=0) if long else None
        overhead = len(encoder.prompt(instruction=spec.contract.instruction, document=""))
        measured = long or sorted(train, key=lambda row: len(row.prompt))[-_MEASURED_ROWS:]
        read = sum(max(1, len(row.prompt) - overhead) for row in measured)
        ratio = sum(len(row.completion) for row in measured) / read if read else 1.0
        #: tokens of the text of a window, so that prompt and output fit
        self.size = max(MIN_WINDOW, window_size(spec.max_length - overhead, ratio))

    def plan(self, trained: Iterable[EncodedRow]) -> WindowPlan:
        """How the model is to read long documents. ``trained``: the rows that it is trained on."""
        answer = max((len(row.completion) for row in trained), default=0)
        return WindowPlan(size=self.size, whole=self._whole, answer=answer)

    def fitted(self, rows: Iterable[EncodedRow], split: str) -> list[EncodedRow]:
        """The rows of a split within the sequence length: documents, and windows of longer ones."""
        kept: list[EncodedRow] = []
        for row in rows:
            if row.length <= self._spec.max_length:
                kept.append(row)
            elif self._spec.too_long == "windows" and (windows := self._split(row.row)):
                kept += windows
            else:
                self.left_out.append({"id": row.row.id, "split": split, "tokens": row.length})
        return kept

    def _split(self, row: Row) -> list[EncodedRow]:
        """The windows of a document; none where even the smallest do not fit."""
        size = self.size
        while size >= MIN_WINDOW:
            rows = self._windows(row, size)
            if all(encoded.length <= self._spec.max_length for encoded in rows):
                return rows
            size = size * 4 // 5
        return []

    def _windows(self, row: Row, size: int) -> list[EncodedRow]:
        windows = split_windows(row.text, limit=size, count=self._encoder.count)
        golds = window_gold(self._schema, row.gold, row.text, windows)
        rows = [
            Row(id=f"{row.id}#{number}", split=row.split, text=window.text, gold=gold)
            for number, (window, gold) in enumerate(zip(windows, golds, strict=True), start=1)
        ]
        encoded = encode_rows(
            rows, instruction=self._spec.contract.instruction, schema=self._part_schema, encoder=self._encoder
        )
        return [
            replace(row_encoded, of=WindowOfRow(row, window))
            for row_encoded, window in zip(encoded, windows, strict=True)
        ]

"""The dataset of an encoder's run: windows of tokens with the gold of each head."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from slmstudio.contract.assembly import usual_values, value_at
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.dialect import is_number
from slmstudio.contract.scoring.pairing import pair
from slmstudio.errors import Refused
from training.encoders.heads import DATE_ORDER, Head, HeadPlan, plan_heads, trained_heads
from training.ml.data.augmentation import Augmentation
from training.ml.data.encoded_dataset import check_silver, drawn_documents
from training.ml.data.rows import Row, of_split, read_rows
from training.ml.encoders.folder import HeadsDescription
from training.ml.encoders.labels import Target, targets_of, token_places
from training.ml.encoders.output_decoder import has_spelling
from training.ml.encoders.spelling import Spelling
from training.ml.encoders.windows import TokenWindow, is_in_word, line_break_of, windows_of
from training.spec import RunSpec

#: tokens of a stretch where no training document has one, and at most; a longer stretch than any of gold is possible
_SHORTEST, _MARGIN = 8, 1.25
#: share of the ends of stretches that are inside a word by mistake
_FEW = 0.01


@dataclass(frozen=True)
class LabeledWindow:
    """A window of a document with the target of each head."""

    row: Row
    window: TokenWindow
    targets: list[Target]

    @property
    def length(self) -> int:
        """Tokens of the window."""
        return len(self.window.tokens)

    @property
    def document(self) -> Row:
        """The document that it is of."""
        return self.row


@dataclass(frozen=True)
class EncoderDataset:
    """The windows of a run. ``located``: by field, training documents whose gold a head can learn, of those that
    have a value."""

    heads: list[Head]
    plan: HeadPlan
    description: HeadsDescription
    train: list[LabeledWindow]
    validation: list[LabeledWindow]
    located: dict[str, tuple[int, int]]
    silver: int = 0
    left_out: list[dict[str, Any]] = field(default_factory=list)

    @property
    def has_one_answer(self) -> bool:
        """Whether all training documents have the same gold, so that there is nothing to distinguish."""
        return len(self.train) > 1 and len({str(item.row.gold) for item in self.train}) == 1

    def validation_documents(self) -> list[Row]:
        """The validation documents by id."""
        rows = {item.row.id: item.row for item in self.validation}
        return [rows[name] for name in sorted(rows)]

    def window_facts(self) -> dict[str, Any] | None:
        """Documents that are read in several windows, and these windows; None without one."""
        counts = Counter(item.row.id for item in self.train)
        several = [count for count in counts.values() if count > 1]
        facts = {"size": self.description.window, "whole": None, "answer": 0}
        return {**facts, "documents": len(several), "rows": sum(several)} if several else None


class WindowLabeler:
    """Makes labeled windows of rows."""

    def __init__(self, tokenizer: Any, heads: Sequence[Head], size: int) -> None:
        """``tokenizer``: of the library ``tokenizers``. ``size``: tokens of a window."""
        self._tokenizer = tokenizer
        self._line_break = line_break_of(tokenizer)
        self._heads = heads
        self._size = size

    def windows(self, row: Row) -> list[LabeledWindow]:
        """The windows of a document with their targets."""
        targets = targets_of(self._heads, row.gold, row.text, row.evidence)
        windows = windows_of(self._tokenizer, row.text, self._size, self._line_break)
        return [LabeledWindow(row, window, targets) for window in windows]


def load_dataset(spec: RunSpec, schema: CompiledSchema, tokenizer: Any, size: int) -> EncoderDataset:
    """Reads and labels the rows. ``size``: tokens of a window.

    Raises:
        Refused: no field can have a head, there are no training documents, or no gold of any field is in the text.
    """
    plan_heads(schema).check(spec.without_heads)
    rows = read_rows(spec.dataset.path, spec.dataset.sha256)
    silver = read_rows(spec.silver.path, spec.silver.sha256) if spec.silver is not None else []
    check_silver(silver, rows)
    everything = of_split(rows, "train")
    drawn = drawn_documents((row.id for row in everything), spec.train_share, spec.seed)
    kept = [row for row in everything if row.id in drawn]
    if not kept:
        raise Refused("The dataset has no training documents.", code="dataset")
    unsigned = _unsigned(schema, [*kept, *silver])
    plan = plan_heads(schema, unsigned)
    heads = trained_heads(plan, spec.without_heads)
    labeler = WindowLabeler(tokenizer, heads, size)
    validation = [item for row in of_split(rows, "validation") for item in labeler.windows(row)]
    if spec.early_stopping is not None and not validation:
        raise Refused(
            "early_stopping requires validation documents, and there are none. Remove it, or freeze a dataset with a "
            "validation split.",
            code="early_stopping",
        )
    train = [item for row in [*kept, *silver] for item in labeler.windows(row)]
    located = _located(heads, train)
    if not any(count for count, _ in located.values()):
        raise Refused(
            f"No gold of {', '.join(located)} is in the text of its document, so there is nothing to point at. Label "
            "values as they are printed, or choose a decoder as the base model.",
            code="gold",
        )
    gold = {leaf.pattern: [value_at(row.gold, leaf.pattern) for row in kept] for leaf in schema.fields}
    description = HeadsDescription(
        schema_sha256=schema.hash,
        window=size,
        line_break=line_break_of(tokenizer),
        left_out=tuple(spec.without_heads),
        longest=_longest(heads, train),
        spelling=_spelling(heads, train),
        usual=usual_values(gold),
        unsigned=unsigned,
        glued=_glued(heads, train),
    )
    ordered = sorted(validation, key=lambda item: item.length)
    return EncoderDataset(heads, plan, description, train, ordered, located, silver=len(silver))


def _unsigned(schema: CompiledSchema, rows: Sequence[Row]) -> tuple[str, ...]:
    """The numbers of a schema without a negative value in gold."""
    leaves = (leaf for row in rows for leaf in pair(schema.root, row.gold, None))
    negative = {leaf.field.pattern for leaf in leaves if is_number(leaf.gold) and leaf.gold < 0}
    numbers = (leaf.pattern for leaf in schema.fields if leaf.type in ("number", "integer"))
    return tuple(pattern for pattern in numbers if pattern not in negative)


def _located(heads: Sequence[Head], windows: Iterable[LabeledWindow]) -> dict[str, tuple[int, int]]:
    documents = {item.row.id: item for item in windows}
    located = {}
    for number, head in enumerate(heads):
        if head.pattern != DATE_ORDER:
            valued = [item for item in documents.values() if value_at(item.row.gold, head.pattern) not in (None, [])]
            located[head.pattern] = (sum(item.targets[number].known for item in valued), len(valued))
    return located


def _longest(heads: Sequence[Head], windows: Sequence[LabeledWindow]) -> dict[str, int]:
    """Tokens of the longest stretch of each span head, with a margin for longer ones."""
    longest = {}
    for number, head in enumerate(heads):
        if head.kind == "span":
            spans = (place for item in windows for place in token_places(item.targets[number], item.window))
            lengths = [last - first + 1 for first, last, _ in spans]
            longest[head.pattern] = round(_MARGIN * max([_SHORTEST, *lengths]))
    return longest


def _glued(heads: Sequence[Head], windows: Iterable[LabeledWindow]) -> tuple[str, ...]:
    """Heads with gold that begins or ends inside a word, in more than a few places."""
    documents = {item.row.id: item for item in windows}
    glued = []
    for number, head in enumerate(heads):
        ends = [
            is_in_word(item.row.text, at, digits_apart=head.has_numbers)
            for item in documents.values()
            for place in item.targets[number].places
            for at in place[:2]
        ]
        if sum(ends) > _FEW * len(ends):
            glued.append(head.pattern)
    return tuple(glued)


def _spelling(heads: Sequence[Head], windows: Iterable[LabeledWindow]) -> dict[str, Spelling]:
    documents = {item.row.id: item for item in windows}
    spelling = {}
    for number, head in enumerate(heads):
        if head.kind != "span" or head.leaf is None or not has_spelling(head.leaf):
            continue
        pairs = []
        for item in documents.values():
            target, gold = item.targets[number], value_at(item.row.gold, head.pattern)
            if target.known and target.places and isinstance(gold, str):
                start, end, _ = target.places[0]
                pairs.append((item.row.text[start:end], gold))
        learned = Spelling.learn(pairs)
        if learned.rules or learned.known:
            spelling[head.pattern] = learned
    return spelling


class TrainingWindows:
    """The training windows as they are in ``epoch``: every second copy of a document has values of others. Windows of
    long documents, and copies that are longer than a window, stay as they were.
    """

    def __init__(self, data: EncoderDataset, labeler: WindowLabeler, augmentation: Augmentation | None) -> None:
        """``augmentation``: of the documents of ``data.train`` with one window, in their order."""
        self.epoch = 0
        self._windows = data.train
        self._labeler = labeler
        self._augmentation = augmentation
        whole = whole_documents(data.train)
        self._places = {number: place for place, number in enumerate(whole)}

    def window(self, number: int) -> LabeledWindow:
        """A window as it is in this epoch."""
        item = self._windows[number]
        if self._augmentation is None or number not in self._places:
            return item
        row = self._augmentation.row(self._places[number], self.epoch)
        if row is item.row:
            return item
        windows = self._labeler.windows(row)
        return windows[0] if len(windows) == 1 else item


def whole_documents(windows: Sequence[LabeledWindow]) -> list[int]:
    """Numbers of the windows that are all of their document."""
    counts = Counter(item.row.id for item in windows)
    return [number for number, item in enumerate(windows) if counts[item.row.id] == 1]

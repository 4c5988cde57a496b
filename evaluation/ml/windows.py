"""Long documents: how a model reads them in windows, and their outputs as one. For evaluations and replicas."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from slmstudio.contract.windows.windows import MAX_WINDOWS, Window, split_windows
from slmstudio.errors import Refused
from training.ml.data.long_documents import MIN_WINDOW, window_size
from training.ml.data.rows import Row, of_split
from training.spec import WindowPlan

if TYPE_CHECKING:
    from evaluation.ml.prompts import PromptBuilder

#: training documents, the longest ones, by which the length of outputs is estimated
_MEASURED_ROWS = 20
#: tokens by which a window in its prompt can be longer than by itself
_SLACK = 8


def plan_windows(
    builder: "PromptBuilder", rows: Iterable[Row], context: int | None, trained: WindowPlan | None, *, auto: bool
) -> tuple[WindowPlan | None, int]:
    """How a model reads documents that are too long for one prompt, and the tokens to reserve for an output.

    ``trained``: the plan that it was trained with; without one the size of a window follows from the context. ``auto``:
    outputs may be shorter than what the builder reserves. The plan is None where nothing is known, or where the prompt
    leaves no room.
    """
    reserved = builder.limit.reserved
    if not context:
        return trained, reserved
    room = context - len(builder.prompt("")) - _SLACK
    size = trained.size if trained is not None else _size(builder, rows, room, auto=auto)
    left = room - size
    if left < (1 if auto else reserved):
        return None, reserved
    return trained or WindowPlan(size=size), min(reserved, left)


def _size(builder: "PromptBuilder", rows: Iterable[Row], room: int, *, auto: bool) -> int:
    """What the usual reserve for an output leaves, or more where outputs are about as long as their documents."""
    left = max(room - builder.limit.reserved, MIN_WINDOW)
    if not auto:
        return left
    longest = sorted(of_split(rows, "train"), key=lambda row: len(row.text))[-_MEASURED_ROWS:]
    read = sum(max(1, builder.encoder.count(row.text)) for row in longest)
    written = sum(len(builder.encoder.completion(builder.schema.canonical(row.gold))) for row in longest)
    return max(left, window_size(room, written / read) if read else 0)


def split_document(builder: "PromptBuilder", document: str, prompt: Sequence[int] | None = None) -> list[Window]:
    """The windows in which a document is read; one with all of it where it is read as a whole.

    ``prompt``: of the whole document, where it is known. Raises Refused where there would be more than
    ``MAX_WINDOWS``.
    """
    plan, context = builder.windows, builder.context
    if plan is not None:
        length = len(builder.prompt(document) if prompt is None else prompt)
        is_whole = plan.whole is None or length <= plan.whole
        if not is_whole or (context and length + builder.limit.reserved > context):
            if length > MAX_WINDOWS * plan.size:
                raise Refused(f"The prompt has {length} tokens, more than {MAX_WINDOWS} windows.", code="length")
            windows = split_windows(document, limit=plan.size, count=builder.encoder.count)
            if len(windows) > MAX_WINDOWS:
                raise Refused(f"The prompt has {len(windows)} windows, more than {MAX_WINDOWS}.", code="length")
            return windows
    return [Window(0, len(document), document)]

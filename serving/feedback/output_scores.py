"""Compares the output of a request with the right object. Pure."""

from dataclasses import dataclass, field

from evaluation.scores.score_view import CORRECT_OUTCOMES
from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.outcomes import Outcome
from slmstudio.contract.scoring.pairing import pair
from slmstudio.contract.scoring.scorer import score_document
from slmstudio.contract.values.kinds.registry import KINDS


@dataclass(frozen=True, slots=True)
class OutputScore:
    """Whether an output is right. ``fields``: path in the output -> right; a missing value has its path in gold.

    ``counted``: fields that are present in the output or in gold, as in an evaluation; ``correct``: of these.
    """

    right: bool
    fields: dict[str, bool] = field(default_factory=dict)
    correct: int = 0
    counted: int = 0


#: of an output that is no longer stored
UNKNOWN_RIGHT, UNKNOWN_WRONG = OutputScore(True), OutputScore(False)


def compare(schema: CompiledSchema, *, text: str, output: str, gold: str) -> OutputScore:
    """The score of ``output``, both as JSON text, with the scoring of evaluations. "": there is no output."""
    wanted = loads(gold)
    score = score_document(schema, text=text, gold=wanted, raw=output or None)
    rows = [leaf for leaf in pair(schema.root, wanted, score.output) if KINDS[leaf.field.kind].scored]
    fields: dict[str, bool] = {}
    correct = counted = 0
    for number, outcome in enumerate(score.fields):
        right = outcome.outcome in CORRECT_OUTCOMES
        # Outcomes are in the order of the leaves; those of unknown fields follow.
        leaf = rows[number] if number < len(rows) else None
        path = outcome.path if leaf is None or leaf.output is None else leaf.output_path
        fields[path] = right and fields.get(path, True)
        if outcome.outcome != Outcome.BOTH_ABSENT:
            counted += 1
            correct += right
    return OutputScore(score.exact, fields, correct, counted)

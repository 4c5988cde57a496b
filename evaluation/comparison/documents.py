"""The documents of a comparison as its page lists them: what is asked for, ten at a time, gold and both outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Page, Paginator

from evaluation.comparison.document_columns import STATES, Cases, Wanted, choose
from evaluation.models import EvalOutput, EvalRun
from evaluation.scores.display import FieldRow, split_rows
from labeling.models import Document

PAGE = 10
#: what one case shows at most; the page of the output has all of it
MAX_ROWS = 60


@dataclass(frozen=True)
class ComparedDocument:
    """One document: its state, what both said, and the rows of fields that are not right in both, or are."""

    key: str
    state: str
    document: Document
    a: EvalOutput
    b: EvalOutput
    wrong: Sequence[FieldRow]
    right: Sequence[FieldRow]
    more: int
    other_gold: bool
    pinned: bool


def page_of_documents(
    cases: Cases, wanted: Wanted, *, a: EvalRun, b: EvalRun, pinned: set[int], number: Any
) -> tuple[Page[Any], list[ComparedDocument]]:
    """A page of what is wanted, broken first. Only the documents on it are loaded."""
    page = Paginator(choose(cases, wanted), PAGE).get_page(number)
    keys = [cases.keys[place] for place, _ in page]
    documents = {
        row.external_id: row
        for row in Document.objects.filter(project_id=a.project_id, external_id__in=keys).only(
            "external_id", "text", "project_id", "holdout"
        )
    }
    outputs = _outputs([a, b], [row.pk for row in documents.values()])
    return page, [
        _case(
            documents[cases.keys[place]],
            state,
            outputs,
            a,
            b,
            other_gold=cases.gold[place : place + 1] == "1",
            pinned=documents[cases.keys[place]].pk in pinned,
        )
        for place, state in page
        if cases.keys[place] in documents
    ]


def _outputs(runs: Sequence[EvalRun], documents: Sequence[int]) -> dict[tuple[int, int], EvalOutput]:
    rows = EvalOutput.objects.filter(eval_run__in=runs, document__in=documents).defer("gold")
    return {(row.eval_run_id, row.document_id): row for row in rows}


def _case(
    document: Document,
    state: str,
    outputs: Mapping[tuple[int, int], EvalOutput],
    a: EvalRun,
    b: EvalRun,
    *,
    other_gold: bool,
    pinned: bool,
) -> ComparedDocument:
    left, right = outputs[a.pk, document.pk], outputs[b.pk, document.pk]
    wrong, fine, more = split_rows(left.score, right.score, most=MAX_ROWS)
    return ComparedDocument(
        key=document.external_id,
        state=state,
        document=document,
        a=left,
        b=right,
        wrong=wrong,
        right=fine,
        more=more,
        other_gold=other_gold,
        pinned=pinned,
    )


def parse_filter(asked: Mapping[str, str]) -> Wanted:
    """What an address asks for; a state or a side that there is not asks for nothing."""
    state, side = asked.get("state", ""), asked.get("in", "")
    return Wanted(
        state=state if state in STATES else "",
        field=asked.get("field", ""),
        error=asked.get("error", ""),
        side=side if side in ("a", "b") else "",
        tag=asked.get("tag", ""),
        slice=asked.get("slice", ""),
        gold=asked.get("gold", "") == "other",
    )

"""The documents of a comparison page: filtered, ten a page, with gold and both outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Page, Paginator

from evaluation.comparison.document_filter import STATES, DocumentColumns, DocumentFilter, select_documents
from evaluation.models import EvalOutput, EvalRun
from evaluation.scores.display import FieldRow, split_rows
from labeling.models import Document

PAGE = 10
#: field rows that one document shows; the page of the output has all
MAX_ROWS = 60


@dataclass(frozen=True)
class ComparedDocument:
    """One document: its state, both outputs, and the rows of its fields: ``right`` in both, or ``wrong``."""

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
    cases: DocumentColumns, filters: DocumentFilter, *, a: EvalRun, b: EvalRun, pinned: set[int], number: Any
) -> tuple[Page[Any], list[ComparedDocument]]:
    """A page of the filtered documents, broken first. Only these are loaded."""
    page = Paginator(select_documents(cases, filters), PAGE).get_page(number)
    keys = [cases.keys[place] for place, _ in page]
    documents = {
        row.external_id: row
        for row in Document.objects.filter(project_id=a.project_id, external_id__in=keys).only(
            "external_id", "text", "project_id", "holdout"
        )
    }
    outputs = _outputs([a, b], [row.pk for row in documents.values()])
    return page, [
        _compared(
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


def _compared(
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


def parse_filter(parameters: Mapping[str, str]) -> DocumentFilter:
    """The filters in a query string; an unknown state or side does not filter."""
    state, side = parameters.get("state", ""), parameters.get("in", "")
    return DocumentFilter(
        state=state if state in STATES else "",
        field=parameters.get("field", ""),
        error=parameters.get("error", ""),
        side=side if side in ("a", "b") else "",
        tag=parameters.get("tag", ""),
        slice=parameters.get("slice", ""),
        gold=parameters.get("gold", "") == "other",
    )

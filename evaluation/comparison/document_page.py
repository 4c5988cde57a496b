"""The documents of a comparison page: filtered, ten a page, with gold and both outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.paginator import Page, Paginator

from evaluation.comparison.document_filter import STATES, DocumentColumns, DocumentFilter, select_documents
from evaluation.models import EvalOutput, EvalRun
from evaluation.scores.display import split_rows
from labeling.models import Document

PAGE = 10
#: field rows that one document shows; the page of the output has all
MAX_ROWS = 60


def page_of_documents(
    cases: DocumentColumns, filters: DocumentFilter, *, a: EvalRun, b: EvalRun, pinned: set[int], number: Any
) -> tuple[Page[Any], list[dict[str, Any]]]:
    """A page of the filtered documents, broken first. Only these are loaded.

    Each with its ``state``, both outputs (``a`` and ``b``), and the rows of its fields: ``right`` in both, or
    ``wrong``; ``more``: how many rows are left out.
    """
    page = Paginator(select_documents(cases, filters), PAGE).get_page(number)
    keys = [cases.keys[place] for place, _ in page]
    rows = Document.objects.filter(project_id=a.project_id, external_id__in=keys)
    documents = {row.external_id: row for row in rows.only("external_id", "text", "project_id", "holdout")}
    outputs = _outputs([a, b], [row.pk for row in documents.values()])
    listed = []
    for place, state in page:
        document = documents.get(cases.keys[place])
        if document is None:
            continue
        left, right = outputs[a.pk, document.pk], outputs[b.pk, document.pk]
        wrong, fine, more = split_rows(left.score, right.score, most=MAX_ROWS)
        listed.append(
            {
                "key": document.external_id,
                "state": state,
                "document": document,
                "a": left,
                "b": right,
                "wrong": wrong,
                "right": fine,
                "more": more,
                "other_gold": cases.gold[place : place + 1] == "1",
                "pinned": document.pk in pinned,
            }
        )
    return page, listed


def _outputs(runs: Sequence[EvalRun], documents: Sequence[int]) -> dict[tuple[int, int], EvalOutput]:
    rows = EvalOutput.objects.filter(eval_run__in=runs, document__in=documents).defer("gold")
    return {(row.eval_run_id, row.document_id): row for row in rows}


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

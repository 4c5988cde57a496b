"""The page that holds two evaluations against each other."""

from typing import Any

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from evaluation.compare import STATES
from evaluation.models import EvalOutput, EvalRun
from evaluation.services.comparisons import compare_runs
from evaluation.services.subjects import how
from evaluation.showing import field_rows
from evaluation.views.parts import asked, wants_part
from labeling.models import Project
from slmstudio.access import Action, project_for
from training.services.runs import Refused

PAGE = 10
WORDS = {
    "broken": ("broken", "right in A, wrong in B"),
    "fixed": ("fixed", "wrong in A, right in B"),
    "still_wrong": ("still wrong", "wrong in both"),
    "still_right": ("still right", "right in both"),
}
SIGNIFICANT = 0.05


@require_safe
def comparison(request: HttpRequest, slug: str) -> HttpResponse:
    """A against B: ``?runs=3,5``, and filters by state, field and tag."""
    project = project_for(request.user, slug, Action.READ)
    wanted = ",".join(request.GET.getlist("runs"))
    numbers = list(dict.fromkeys(part.strip() for part in wanted.split(",") if part.strip()))
    if len(numbers) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in numbers):
        return _problem(request, project, "Choose two evaluations in the list to hold them against each other.")
    if request.GET.getlist("runs") != [",".join(numbers)]:
        return redirect(f"{reverse('comparison', args=[slug])}?runs={','.join(numbers)}")
    runs = EvalRun.objects.filter(project=project, number__in=numbers).with_subject()
    found = {str(run.number): run for run in runs.select_related("dataset__schema_version")}
    if any(number not in found for number in numbers):
        raise Http404("No such evaluation.")
    a, b = (found[number] for number in numbers)
    try:
        result = compare_runs(a=a, b=b).result
    except Refused as refusal:
        return _problem(request, project, refusal.message)
    context = {"project": project, "a": a, "b": b, "runs": f"{a.number},{b.number}", "result": result}
    context.update(_documents(request, a, b, result))
    if wants_part(request):
        return render(request, "evaluation/comparison.html#documents", context)
    context["bar"] = _bar(result)
    context["fields"] = _fields(result)
    context["headline"] = _headline(a, b)
    context["differences"] = _differences(a, b)
    return render(request, "evaluation/comparison.html", context)


def _problem(request: HttpRequest, project: Project, text: str) -> HttpResponse:
    return render(request, "evaluation/no_comparison.html", {"project": project, "problem": text}, status=422)


def _bar(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The four states with their counts, and where each begins on a bar of 100."""
    parts, left = [], 0.0
    for state in STATES:
        count = len(result[state])
        width = 100 * count / result["n"]
        words, hint = WORDS[state]
        parts.append({"state": state, "words": words, "hint": hint, "count": count, "width": width, "left": left})
        left += width
    return parts


def _fields(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The table per field; those that moved most first."""
    rows = []
    for row in result["fields"]:
        a, b = row["a_right"] / row["n"], row["b_right"] / row["n"]
        rows.append({**row, "a": a, "b": b, "change": b - a, "significant": row["p_adjusted"] < SIGNIFICANT})
    return sorted(rows, key=lambda row: (row["change"], row["field"]))


def _headline(a: EvalRun, b: EvalRun) -> list[dict[str, Any]]:
    """Rates of both, with how much B is above A."""
    names = [
        ("schema_valid", "Schema-valid"),
        ("field_exact", "Fields right"),
        ("document_exact", "Documents wholly right"),
        ("hallucinated", "Documents with something made up"),
    ]
    rows = []
    for name, title in names:
        left, right = a.scores.get(name) or {}, b.scores.get(name) or {}
        if left.get("n") and right.get("n"):
            change = right["rate"] - left["rate"]
            good = change < 0 if name == "hallucinated" else change > 0
            rows.append({"title": title, "a": left, "b": right, "change": change, "good": good})
    return rows


def _differences(a: EvalRun, b: EvalRun) -> list[tuple[str, str, str]]:
    """What the two runs do not have in common: (what, in A, in B)."""
    left, right = how(a), how(b)
    unlike = [name for name in left | right if left.get(name) != right.get(name)]
    return [(name, left.get(name, "–"), right.get(name, "–")) for name in unlike]


def _documents(request: HttpRequest, a: EvalRun, b: EvalRun, result: dict[str, Any]) -> dict[str, Any]:
    """The documents that the address asks for, broken first, one page of them with both outputs."""
    state, field, tag = (asked(request, name) for name in ("state", "field", "tag"))
    tagged = _tagged(b, tag) if tag else None
    entries = [
        (key, its_state)
        for its_state in STATES
        for key in _keys(result, field, its_state)
        if state in ("", its_state) and (tagged is None or key in tagged)
    ]
    page = Paginator(entries, PAGE).get_page(request.GET.get("page"))
    keys = [key for key, _ in page]
    left, right = _outputs(a, keys), _outputs(b, keys)
    cases = []
    for key, its_state in page:
        rows = field_rows(left[key].score, right[key].score)
        cases.append(
            {
                "key": key,
                "state": its_state,
                "words": WORDS[its_state][0],
                "a": left[key],
                "b": right[key],
                "wrong": [row for row in rows if not row.right],
                "right": [row for row in rows if row.right],
            }
        )
    tags = sorted({*a.scores.get("slices", {}), *b.scores.get("slices", {})})
    return {
        "page": page,
        "cases": cases,
        "states": STATES,
        "state": state if state in STATES else "",
        "field": field,
        "tag": tag,
        "tags": tags,
        "patterns": [row["field"] for row in result["fields"]],
    }


def _keys(result: dict[str, Any], field: str, state: str) -> list[str]:
    """Ids in a state: of the whole document, or of one field of it."""
    if not field:
        return list(result[state])
    return [key for row in result["fields"] if row["field"] == field for key in row[state]]


def _tagged(run: EvalRun, tag: str) -> set[str]:
    rows = EvalOutput.objects.filter(eval_run=run).tagged(tag)
    return set(rows.values_list("document__external_id", flat=True))


def _outputs(run: EvalRun, keys: list[str]) -> dict[str, EvalOutput]:
    rows = EvalOutput.objects.filter(eval_run=run, document__external_id__in=keys).select_related("document")
    return {row.document.external_id: row for row in rows}

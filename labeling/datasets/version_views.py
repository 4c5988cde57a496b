"""One dataset version: its page, its near-duplicates, and how it differs from another one."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from labeling.annotation.diffs import compare_words
from labeling.datasets import diff as diff_module
from labeling.datasets import queries as service
from labeling.datasets.formats.registry import SHAPES
from labeling.datasets.freeze import LEFT_OUT, rules_of
from labeling.datasets.near_duplicates import THRESHOLD
from labeling.datasets.splits import PEOPLE_MADE, Rules
from labeling.documents.failure_tags import tags_of
from labeling.form.tree import tree_of
from labeling.models import DatasetVersion, Project, Split
from labeling.projects.services import pretty
from slmstudio import panels
from slmstudio.access import Action, object_for, project_for
from slmstudio.web.requests import SignedInRequest

PER_PAGE = 5
TWINS_PER_PAGE = 10
CHANGES_PER_PAGE = 20
#: characters of a text that are shown beside another one
SHOWN = 4_000
#: the rules and shares of a draw, and what people call them
RULES = {
    "similarity": "Near-duplicates are alike by",
    "group_by": "Kept together by",
    "stratify": "Spread evenly over",
    "states": "Only",
    "origins": "Only gold that is",
    "tags": "Only with a tag of",
    "without_tags": "Never with a tag of",
    "most": "For training and validation at most",
    "validation_share": "Validation",
    "holdout_share": "Hold-out, where one had to be drawn",
}


def _unanswered(dataset: DatasetVersion) -> list[tuple[str, int]]:
    """Title and count of the fields that nobody answered, the most frequent first."""
    titles = {node.pattern: node.title for node in tree_of(dataset.schema_version.compiled).nodes()}
    counted = dataset.counts.get("unanswered", {})
    return [(titles.get(name) or name, counted[name]) for name in sorted(counted, key=lambda name: -counted[name])]


@require_safe
def dataset(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One version: counts, hashes, schema, and its examples as instruction, input and output."""
    project, shown = _version(request, slug, number)
    split = request.GET.get("split", "")
    split = split if split in Split.values else ""
    total = shown.counts["splits"][split] if split else shown.counts["documents"]
    here, pages = _page(request, total, PER_PAGE)
    missing, examples = "", []
    try:
        examples = _examples(shown, split, (here - 1) * PER_PAGE)
    except FileNotFoundError as error:
        missing = str(error)
    context: dict[str, Any] = {
        "project": project,
        "dataset": shown,
        "split": split,
        "splits": [(value, label, shown.counts["splits"].get(value, 0)) for value, label in Split.choices],
        "examples": examples,
        "missing": missing,
        "page": here,
        "pages": pages,
    }
    if request.htmx and not request.htmx.history_restore_request:  # type: ignore[attr-defined]
        return render(request, "labeling/datasets/dataset.html#examples", context)
    others = project.datasets.exclude(pk=shown.pk).order_by("-number").values_list("number", flat=True)
    context |= {
        "shapes": SHAPES,
        "schema": pretty(shown.schema_version.schema_text),
        "tags": _tags(project, shown.counts),
        "left_out": [(count, LEFT_OUT.get(name, name)) for name, count in shown.counts["left_out"].items() if count],
        "unanswered": _unanswered(shown),
        "rules": _rules(shown),
        "twins": shown.counts.get("near_duplicates"),
        "others": list(others),
        "earlier": next((other for other in others if other < shown.number), None),
        "odd_holdout": {
            origin: count for origin, count in shown.counts["holdout_origins"].items() if origin not in PEOPLE_MADE
        },
        "panels": [
            render_to_string(content.template, {**content.context, "project": project}, request=request)
            for content in panels.render_panels("dataset", shown, request.user)
        ],
    }
    return render(request, "labeling/datasets/dataset.html", context)


@require_safe
def twins(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Pairs of near-duplicates that were seen when the version was drawn, and where each of the two went."""
    project, shown = _version(request, slug, number)
    apart = request.GET.get("show") == "apart"
    counted = shown.counts.get("near_duplicates") or {}
    _, total = service.twins(shown, start=0, count=0, apart=apart)
    here, pages = _page(request, total, TWINS_PER_PAGE)
    pairs, _ = service.twins(shown, start=(here - 1) * TWINS_PER_PAGE, count=TWINS_PER_PAGE, apart=apart)
    context = {
        "project": project,
        "dataset": shown,
        "pairs": [(pair, *compare_words(pair.one.text[:SHOWN], pair.other.text[:SHOWN])) for pair in pairs],
        "shown": SHOWN,
        "total": total,
        "counted": counted,
        "apart": apart,
        "page": here,
        "pages": pages,
        "words": {**LEFT_OUT, **dict(Split.choices)},
        "similarity": shown.rules.get("similarity", THRESHOLD),
    }
    return render(request, "labeling/datasets/near_duplicates.html", context)


@require_safe
def diff(request: SignedInRequest, slug: str) -> HttpResponse:
    """What changed from version ``a`` to version ``b``; without them, from the newest but one to the newest."""
    project = project_for(request.user, slug, Action.READ)
    versions = list(project.datasets.select_related("schema_version").order_by("-number"))
    context: dict[str, Any] = {"project": project, "versions": versions}
    if len(versions) < 2 and not request.GET.get("a"):
        return render(request, "labeling/datasets/diff.html", context)
    a, b = (_chosen(project, request.GET.get(name), versions, place) for name, place in (("a", 1), ("b", 0)))
    found = diff_module.diff(a, b)
    kind = request.GET.get("show", "")
    if kind not in diff_module.KINDS:
        kind = next((name for name, count in found.counts.items() if count), "changed")
    here, pages = _page(request, found.counts[kind], CHANGES_PER_PAGE)  # type: ignore[index]
    context |= {
        "a": a,
        "b": b,
        "diff": found,
        "rules": _changed_rules(a, b),
        "kind": kind,
        "kinds": [(name, words, found.counts[name]) for name, words in diff_module.KINDS.items()],
        "rows": diff_module.differences(
            a,
            b,
            kind,  # type: ignore[arg-type]
            start=(here - 1) * CHANGES_PER_PAGE,
            count=CHANGES_PER_PAGE,
        ),
        "page": here,
        "pages": pages,
        "split_words": dict(Split.choices),
    }
    return render(request, "labeling/datasets/diff.html", context)


def _version(request: SignedInRequest, slug: str, number: int) -> tuple[Project, DatasetVersion]:
    versions = DatasetVersion.objects.select_related("schema_version", "created_by")
    return object_for(request.user, slug, Action.READ, versions, number=number)


def _chosen(project: Project, number: str | None, versions: list[DatasetVersion], place: int) -> DatasetVersion:
    """The version with this number; where none is named, the one at this place of the list."""
    if not number:
        return versions[min(place, len(versions) - 1)]
    wanted = int(number) if number.isdecimal() and len(number) < 10 else 0
    return get_object_or_404(DatasetVersion.objects.select_related("schema_version"), project=project, number=wanted)


def _page(request: SignedInRequest, total: int, size: int) -> tuple[int, int]:
    """The page that is asked for, and how many there are."""
    pages = max(1, -(-total // size))
    text = request.GET.get("page", "")
    wanted = int(text) if text.isdecimal() and len(text) < 10 else 1
    return min(max(1, wanted), pages), pages


def _examples(shown: DatasetVersion, split: str, start: int) -> list[dict[str, Any]]:
    compiled = shown.schema_version.compiled
    rows = service.some_rows(shown, split=split or None, start=start, count=PER_PAGE)
    # A line is broken behind a comma: compact JSON has no blank to break it at.
    return [{**row, "parts": compiled.canonical(row["gold"]).split(",")} for row in rows]


def _tags(project: Project, counts: dict[str, Any]) -> list[dict[str, Any]]:
    """Documents per failure tag and split; of versions that did not count validation, train is not known."""
    known = tags_of(project)
    rows = []
    for tag, count in sorted(counts["tags"].items(), key=lambda item: (-item[1], item[0])):
        held = counts["holdout_tags"].get(tag, 0)
        validation = counts["validation_tags"].get(tag, 0) if "validation_tags" in counts else None
        train = None if validation is None else count - held - validation
        about = known.get(tag)
        rows.append(
            {"tag": tag, "about": about, "all": count, "train": train, "validation": validation, "holdout": held}
        )
    return rows


def _rules(shown: DatasetVersion) -> list[tuple[str, str]]:
    """How it was drawn, in words: the shares, and the rules that were asked for."""
    if not shown.rules:
        return []
    rules, usual = rules_of(shown.rules), Rules()
    return [
        (said, _rule(name, shown.rules.get(name)))
        for name, said in RULES.items()
        if name == "similarity" or name.endswith("_share") or getattr(rules, name) != getattr(usual, name)
    ]


def _rule(name: str, value: Any) -> str:
    """What a rule says, "" where it says nothing."""
    if name == "similarity" or name.endswith("_share"):
        return f"{100 * float(value or 0):.4g} %"
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if name == "most" and value is not None else str(value or "")


def _changed_rules(a: DatasetVersion, b: DatasetVersion) -> list[tuple[str, str, str]]:
    """(What it is about, before, after) of everything that was drawn in another way."""
    pairs = [(said, _rule(name, a.rules.get(name)), _rule(name, b.rules.get(name))) for name, said in RULES.items()]
    pairs.append(("Seed", str(a.seed), str(b.seed)))
    return [pair for pair in pairs if pair[1] != pair[2]]

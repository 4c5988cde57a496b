"""One dataset version: its page, its near-duplicates, and its diff to another version."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from labeling.annotation.diffs import compare_words
from labeling.contract.schema_text import pretty
from labeling.datasets import ceiling as ceiling_module
from labeling.datasets import diff as diff_module
from labeling.datasets import queries
from labeling.datasets.families import family_hint, family_warnings, family_word, large_families
from labeling.datasets.freeze_rules import Rules, rules_of
from labeling.datasets.near_duplicates import THRESHOLD
from labeling.datasets.silver import SILVER_REASONS
from labeling.datasets.splits import EXCLUSION_REASONS, HUMAN_ORIGINS
from labeling.failure_tags import tags_of
from labeling.form.tree import tree_of
from labeling.models import DatasetVersion, Project, Split
from slmstudio import panels
from slmstudio.access import Action, project_for
from slmstudio.text.formatting import exact_percent
from slmstudio.web.requests import SignedInRequest

PER_PAGE = 5
PAIRS_PER_PAGE = 10
CHANGES_PER_PAGE = 20
VALUES_PER_PAGE = 50
#: maximum characters of a text in a side-by-side view
MAX_TEXT_LENGTH = 4_000
#: titles of the freeze settings
RULES = {
    "similarity": "Near-duplicate threshold",
    "group_by": "Grouped by",
    "large_families": "Large groups",
    "stratify": "Stratified by",
    "states": "States",
    "origins": "Origins",
    "tags": "Tags",
    "without_tags": "Excluded tags",
    "most": "Maximum for training and validation",
    "silver": "Silver labels",
    "silver_confidence": "Confidence of silver labels",
    "validation_share": "Validation",
    "holdout_share": "Hold-out, in the first version",
}


def _unanswered(dataset: DatasetVersion) -> list[dict[str, Any]]:
    """The optional fields that documents leave open, most frequent first, each with the first documents."""
    titles = {node.pattern: node.title for node in tree_of(dataset.schema_version.compiled).nodes()}
    counted, listed = dataset.counts.get("unanswered", {}), dataset.counts.get("unanswered_documents", {})
    rows = dataset.project.documents.only("external_id").in_bulk({pk for pks in listed.values() for pk in pks})
    fields = []
    for name in sorted(counted, key=lambda name: -counted[name]):
        documents = [rows[pk] for pk in listed.get(name, ()) if pk in rows]
        more = counted[name] - len(documents) if documents else 0
        fields.append({"title": titles.get(name) or name, "count": counted[name], "documents": documents, "more": more})
    return fields


def _families(dataset: DatasetVersion) -> list[tuple[str, int]]:
    """Title and number of families of each split; empty where each document is its own."""
    counted = (dataset.counts.get("families") or {}).get("splits", {})
    if all(families["largest"] < 2 for families in counted.values()):
        return []
    return [(label, counted[value]["families"]) for value, label in Split.choices if value in counted]


@require_safe
def dataset(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One version: counts, hashes, schema, and examples as instruction, input and output."""
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
        "tag_titles": {name: tag.title for name, tag in tags_of(project).items()},
        "missing": missing,
        "page": here,
        "pages": pages,
    }
    if request.htmx and not request.htmx.history_restore_request:  # type: ignore[attr-defined]
        return render(request, "labeling/datasets/dataset.html#examples", context)
    others = project.datasets.exclude(pk=shown.pk).numbers()
    context |= {
        "schema": pretty(shown.schema_version.schema_text),
        "tags": _tags(project, shown.counts),
        "left_out": [
            (count, EXCLUSION_REASONS.get(name, name)) for name, count in shown.counts["left_out"].items() if count
        ],
        "unanswered": _unanswered(shown),
        "silver": shown.counts.get("silver"),
        "silver_left_out": [
            (count, SILVER_REASONS.get(name, name))
            for name, count in ((shown.counts.get("silver") or {}).get("left_out") or {}).items()
        ],
        "rules": _rules(shown),
        "near_duplicates": shown.counts.get("near_duplicates"),
        "ceiling": ceiling_module.ceiling_of(shown),
        "family_word": family_word(shown),
        "families": _families(shown),
        "family_hint": family_hint(shown),
        "large_families": large_families(shown),
        "family_warnings": family_warnings(shown),
        "erased": queries.erased_documents(shown),
        "others": others,
        "earlier": next((other for other in others if other < shown.number), None),
        "odd_holdout": {
            origin: count for origin, count in shown.counts["holdout_origins"].items() if origin not in HUMAN_ORIGINS
        },
        "panels": [
            render_to_string(content.template, {**content.context, "project": project}, request=request)
            for content in panels.render_panels("dataset", shown, request.user)
        ],
    }
    return render(request, "labeling/datasets/dataset.html", context)


@require_safe
def near_duplicates(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Pairs of near-duplicates in a version, with the split of each document."""
    project, shown = _version(request, slug, number)
    only_split = request.GET.get("show") == "apart"
    counted = shown.counts.get("near_duplicates") or {}
    pairs = queries.near_duplicate_pairs(shown, only_split=only_split)
    page = Paginator(pairs, PAIRS_PER_PAGE).get_page(request.GET.get("page"))
    documents = project.documents.only("external_id", "text").in_bulk([row[side] for row in page for side in "ab"])
    context = {
        "project": project,
        "dataset": shown,
        "pairs": [
            (pair, a, b, *compare_words(a.text[:MAX_TEXT_LENGTH], b.text[:MAX_TEXT_LENGTH]))
            for pair in page
            if (a := documents.get(pair["a"])) and (b := documents.get(pair["b"]))
        ],
        "shown": MAX_TEXT_LENGTH,
        "total": len(pairs),
        "counted": counted,
        "only_split": only_split,
        "page": page.number,
        "pages": page.paginator.num_pages,
        "words": {**EXCLUSION_REASONS, **dict(Split.choices)},
        "similarity": shown.rules.get("similarity", THRESHOLD),
    }
    return render(request, "labeling/datasets/near_duplicates.html", context)


@require_safe
def absent_values(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Gold values that are not in the text of their document, of ``field`` or of all."""
    project, shown = _version(request, slug, number)
    fields = [field for field in ceiling_module.ceiling_of(shown) if field.absent]
    chosen = next((field for field in fields if field.pattern == request.GET.get("field")), None)
    rows = ceiling_module.absent_values(shown, chosen.pattern if chosen else "")
    page = Paginator(rows, VALUES_PER_PAGE).get_page(request.GET.get("page"))
    absent = chosen.absent if chosen else sum(field.absent for field in fields)
    context = {
        "project": project,
        "dataset": shown,
        "fields": fields,
        "chosen": chosen,
        "rows": page.object_list,
        "titles": {field.pattern: field.title for field in fields},
        "absent": absent,
        "total": len(rows),
        "page": page.number,
        "pages": page.paginator.num_pages,
    }
    return render(request, "labeling/datasets/absent_values.html", context)


@require_safe
def diff(request: SignedInRequest, slug: str) -> HttpResponse:
    """The diff from version ``a`` to ``b``; by default, of the two newest."""
    project = project_for(request.user, slug, Action.READ)
    versions = list(project.datasets.for_page())
    context: dict[str, Any] = {"project": project, "versions": versions}
    if len(versions) < 2 and not request.GET.get("a"):
        return render(request, "labeling/datasets/diff.html", context)
    a, b = (_chosen(project, request.GET.get(name), versions, place) for name, place in (("a", 1), ("b", 0)))
    changes = diff_module.diff(a, b)
    kind = request.GET.get("show", "")
    if kind not in diff_module.KINDS:
        kind = next((name for name, count in changes.counts.items() if count), "changed")
    here, pages = _page(request, changes.counts[kind], CHANGES_PER_PAGE)  # type: ignore[index]
    context |= {
        "a": a,
        "b": b,
        "diff": changes,
        "rules": _changed_rules(a, b),
        "kind": kind,
        "kinds": [(name, words, changes.counts[name]) for name, words in diff_module.KINDS.items()],
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
    project = project_for(request.user, slug, Action.READ)
    return project, get_object_or_404(project.datasets.for_page(), number=number)


def _chosen(project: Project, number: str | None, versions: list[DatasetVersion], place: int) -> DatasetVersion:
    """The version with this number; by default, the one at this place of the list."""
    if not number:
        return versions[min(place, len(versions) - 1)]
    requested = int(number) if number.isdecimal() and len(number) < 10 else 0
    return get_object_or_404(project.datasets.with_schema(), number=requested)


def _page(request: SignedInRequest, total: int, size: int) -> tuple[int, int]:
    """The requested page, and the number of pages."""
    page = Paginator(range(total), size).get_page(request.GET.get("page"))
    return page.number, page.paginator.num_pages


def _examples(shown: DatasetVersion, split: str, start: int) -> list[dict[str, Any]]:
    compiled = shown.schema_version.compiled
    rows = queries.row_page(shown, split=split or None, start=start, count=PER_PAGE)
    # Lines break after commas: compact JSON has no spaces.
    return [{**row, "parts": compiled.canonical(row["gold"]).split(",")} for row in rows]


def _tags(project: Project, counts: dict[str, Any]) -> list[dict[str, Any]]:
    """Documents per failure tag and split; train is unknown for old versions that did not count validation."""
    known = tags_of(project)
    rows = []
    for tag, count in sorted(counts["tags"].items(), key=lambda item: (-item[1], item[0])):
        held = counts["holdout_tags"].get(tag, 0)
        validation = counts["validation_tags"].get(tag, 0) if "validation_tags" in counts else None
        train = None if validation is None else count - held - validation
        about = known.get(tag)
        rows.append(
            {
                "tag": tag,
                "title": about.title if about else tag,
                "about": about,
                "all": count,
                "train": train,
                "validation": validation,
                "holdout": held,
            }
        )
    return rows


def _rules(shown: DatasetVersion) -> list[tuple[str, str]]:
    """The freeze settings of a version: shares, and rules that are not the default."""
    if not shown.rules:
        return []
    rules, default = rules_of(shown.rules), Rules()
    return [
        (title, _rule(name, shown.rules.get(name)))
        for name, title in RULES.items()
        if name == "similarity" or name.endswith("_share") or getattr(rules, name) != getattr(default, name)
    ]


def _rule(name: str, value: Any) -> str:
    """A setting as text, "" without one."""
    if name in ("similarity", "silver_confidence") or name.endswith("_share"):
        return exact_percent(value or 0)
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if name == "most" and value is not None else str(value or "")


def _changed_rules(a: DatasetVersion, b: DatasetVersion) -> list[tuple[str, str, str]]:
    """(Title, before, after) of every setting that differs."""
    pairs = [(title, _rule(name, a.rules.get(name)), _rule(name, b.rules.get(name))) for name, title in RULES.items()]
    pairs.append(("Seed", str(a.seed), str(b.seed)))
    return [pair for pair in pairs if pair[1] != pair[2]]

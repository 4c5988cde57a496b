"""The families of a dataset version: documents that are not independent of each other.

A family has the documents with the same value of the grouping rule, and near-duplicates. It is found when a version is
frozen (``labeling.datasets.splits``) and stored with its items and in its file. Draws, intervals, gates, comparisons
and slices all read it from here.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import ngettext

from labeling.datasets import splits
from labeling.datasets.freeze_candidates import FreezeCandidates, group_expression
from labeling.models import DatasetItem, DatasetVersion, Split
from slmstudio.text.formatting import percent

#: how many large families a version lists
MAX_LISTED = 10
#: fewer near-duplicates say nothing about what evaluations miss
MIN_NEAR_DUPLICATES = 5
_METADATA = "metadata."


def families_of(dataset: DatasetVersion, split: str = "") -> dict[int, int]:
    """Document -> its family, for documents of a version that are not alone in it. ``split``: only those of one.

    Versions from before families were stored have none: each of their documents counts as its own.
    """
    rows: Any = DatasetItem.objects.filter(dataset=dataset, family__isnull=False)
    if split in Split.values:
        rows = rows.filter(split=split)
    return dict(rows.values_list("document_id", "family"))


def group_rule(dataset: DatasetVersion) -> str:
    """The grouping rule of a version: "", "source" or "metadata.<key>"."""
    return str(dataset.rules.get("group_by") or "")


def group_key(dataset: DatasetVersion) -> str:
    """The metadata key that documents are grouped by; "" without one."""
    rule = group_rule(dataset)
    return rule.removeprefix(_METADATA) if rule.startswith(_METADATA) else ""


def family_word(dataset: DatasetVersion, number: int = 2) -> str:
    """What a family is: "suppliers" for documents that are grouped by the metadata key supplier, else "families"."""
    key = group_key(dataset)
    if not key.isalpha() or not key.islower():
        key = "family"
    return key if number == 1 else _plural(key)


def _plural(word: str) -> str:
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


def known_documents(dataset: DatasetVersion, split: str, trained_on: DatasetVersion | None = None) -> set[int] | None:
    """The documents of a split whose family occurs in the training split of ``trained_on`` (default: the same version);
    None where documents are not grouped (near-duplicates of the hold-out are never in training), and for a benchmark.
    """
    rule = group_rule(dataset)
    if not rule or split not in Split.values:
        return None
    items = DatasetItem.objects.filter(dataset=dataset, split=split)
    trained = DatasetItem.objects.filter(dataset=trained_on or dataset, split=Split.TRAIN)
    values = set(_groups(trained, rule).values()) - {"", None}
    return {document for document, value in _groups(items, rule).items() if value in values}


def _groups(items: QuerySet[DatasetItem], rule: str) -> dict[int, str | None]:
    return dict(items.values_list("document_id", group_expression(rule)))


# -- at freeze ---------------------------------------------------------------------------------------------------------


def shared_families(family: Mapping[int, int]) -> dict[int, int]:
    """The families of more than one document."""
    sizes = Counter(family.values())
    return {document: leader for document, leader in family.items() if sizes[leader] > 1}


def family_counts(collected: FreezeCandidates, plan: splits.SplitAssignment) -> dict[str, Any]:
    """What a version stores of its families: of each split its documents, families and the documents of the largest;
    and the large families, each with its name and its documents by split. Those without a group are near-duplicates."""
    sizes = Counter(plan.family.values())
    names = {candidate.pk: candidate.group or candidate.external_id for candidate in collected.candidates}
    by_split = {
        split: Counter(plan.family[pk] for pk, side in plan.split.items() if side == split) for split in splits.ORDER
    }
    groups = {candidate.pk: candidate.group for candidate in collected.candidates}
    large = [leader for leader, size in sizes.most_common(MAX_LISTED) if splits.is_large(size, len(plan.split))]
    return {
        "splits": {
            split: {
                "documents": sizes_in_split.total(),
                "families": len(sizes_in_split),
                "largest": max(sizes_in_split.values(), default=0),
            }
            for split, sizes_in_split in by_split.items()
        },
        "large": [
            {
                "name": names[leader],
                "near_duplicates": not groups[leader],
                "documents": sizes[leader],
                "splits": {split: sizes_in_split[leader] for split, sizes_in_split in by_split.items()},
            }
            for leader in large
        ],
    }


def large_families(dataset: DatasetVersion) -> list[dict[str, Any]]:
    """The large families of a version; those of near-duplicates are named as such."""
    stored = (dataset.counts.get("families") or {}).get("large", ())
    return [
        {**family, "name": f"{family['name']} and {_near_duplicates(family)}"}
        if _is_near_duplicates(dataset, family)
        else family
        for family in stored
    ]


def _is_near_duplicates(dataset: DatasetVersion, family: Mapping[str, Any]) -> bool:
    return bool(family.get("near_duplicates", not group_rule(dataset)))


def _near_duplicates(family: Mapping[str, Any]) -> str:
    others = family["documents"] - 1
    return f"{others:,} near-{ngettext('duplicate', 'duplicates', others)}"


def family_warnings(dataset: DatasetVersion) -> list[str]:
    """Sentences about large families that no document of the hold-out tests."""
    if not dataset.counts["splits"].get(splits.HOLDOUT):
        return []
    return [
        _untested(dataset, family)
        for family in (dataset.counts.get("families") or {}).get("large", ())
        if not family["splits"][splits.HOLDOUT]
        and (family["documents"] >= MIN_NEAR_DUPLICATES or not _is_near_duplicates(dataset, family))
    ]


def _untested(dataset: DatasetVersion, family: Mapping[str, Any]) -> str:
    share = percent(family["documents"] / dataset.counts["documents"], 0)
    if _is_near_duplicates(dataset, family):
        return (
            f"{family['name']} has {_near_duplicates(family)}. Together they are {share} of the documents and none is "
            "in the hold-out, so no evaluation tests documents like these."
        )
    return (
        f"{family['name']} has {share} of the documents and none in the hold-out, so no evaluation tests it. Move "
        "more of its documents to the hold-out, and freeze a version with large groups spread across the splits."
    )


def family_hint(dataset: DatasetVersion) -> str:
    """What the documents of a family have in common."""
    rules = {"": "a document and its near-duplicates", "source": "all documents of a source file, and near-duplicates"}
    family = rules.get(group_rule(dataset), f"all documents with the same {group_key(dataset)}, and near-duplicates")
    return f"A family is {family}. Intervals and gates count families, not documents."

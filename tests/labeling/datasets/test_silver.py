"""Silver labels: which pre-labels become one, and that they are for training only."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from labeling.annotation import predictions
from labeling.datasets import holdout_sampling
from labeling.datasets.freeze import freeze
from labeling.datasets.freeze_rules import Rules
from labeling.datasets.silver import silver_key
from labeling.models import DatasetItem, DatasetVersion, Document, Project, SilverItem
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path
from tests.labeling.message_desk import add_messages, make_project, member
from tests.shared_rows import shared_fixture


@shared_fixture
def project(db: None) -> Project:
    made = make_project()
    add_messages(made, 20, labeled=True)
    add_messages(made, 8, labeled=False, prefix="n")
    return made


def pre_label(project: Project, name: str, queue: Any, *, sure: float | None = None, source: str = "a") -> None:
    document = Document.objects.get(project=project, external_id=name)
    confidence = {} if sure is None else {"queue": sure}
    given = [predictions.PredictionInput(document.pk, dumps({"queue": queue}), confidence)]
    version = project.schema_version
    predictions.record(
        project=project, schema_version=version, proposals=given, model=f"model {source}", source=source
    )  # fmt: skip


def frozen(project: Project, **rules: Any) -> DatasetVersion:
    return freeze(project=project, user=None, holdout_share=0.25, rules=Rules(**rules))


def rows(dataset: DatasetVersion) -> list[dict[str, Any]]:
    lines = local_path(silver_key(dataset.artifact_key)).read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_two_models_that_agree_make_a_silver_label(project: Project) -> None:
    for source in ("a", "b"):
        pre_label(project, "n00", "billing", source=source)
        pre_label(project, "n01", "billing" if source == "a" else "sales", source=source)
        pre_label(project, "n02", "no such queue", source=source)
    pre_label(project, "n03", "billing")
    dataset = frozen(project, silver="agreement")
    [row] = rows(dataset)
    assert (row["id"], row["split"], row["origin"], row["gold"]) == ("n00", "train", "silver", {"queue": "billing"})
    counted = dataset.counts["silver"]
    assert (counted["documents"], counted["models"]) == (1, {"model b": 1})
    assert counted["left_out"] == {"disagree": 1, "one_prediction": 1, "schema": 1}
    assert dataset.counts["documents"] == 20
    assert not DatasetItem.objects.filter(dataset=dataset, document__external_id="n00").exists()


def test_a_confidence_makes_a_silver_label(project: Project) -> None:
    pre_label(project, "n00", "billing", sure=0.97)
    pre_label(project, "n01", "billing", sure=0.9)
    pre_label(project, "n02", "billing")
    dataset = frozen(project, silver="confidence")
    assert [row["id"] for row in rows(dataset)] == ["n00"]
    assert dataset.counts["silver"]["left_out"] == {"low_confidence": 1, "no_confidence": 1}


def test_near_duplicates_of_validation_and_hold_out_are_left_out(project: Project) -> None:
    first = frozen(project)
    tested = DatasetItem.objects.filter(dataset=first).exclude(split="train").first()
    assert tested is not None
    Document.objects.filter(external_id="n00").update(text=tested.document.text.upper())
    pre_label(project, "n00", "billing", sure=1)
    pre_label(project, "n01", "billing", sure=1)
    dataset = frozen(project, silver="confidence")
    assert [row["id"] for row in rows(dataset)] == ["n01"]
    assert dataset.counts["silver"]["left_out"] == {"near_duplicate": 1}


def test_groups_of_validation_and_hold_out_are_left_out(project: Project) -> None:
    for at, document in enumerate(Document.objects.filter(project=project).order_by("pk")):
        Document.objects.filter(pk=document.pk).update(metadata={"company": f"c{at % 20}"})
    for number in range(8):
        pre_label(project, f"n{number:02}", "billing", sure=1)
    dataset = frozen(project, silver="confidence", group_by="metadata.company")
    tested = DatasetItem.objects.filter(dataset=dataset).exclude(split="train")
    companies = {item.document.metadata["company"] for item in tested}
    kept = Document.objects.filter(silver_items__dataset=dataset)
    assert kept
    assert not companies & {document.metadata["company"] for document in kept}
    assert kept.count() + dataset.counts["silver"]["left_out"]["related"] == 8


def test_a_silver_document_never_enters_the_hold_out(project: Project) -> None:
    pre_label(project, "n00", "billing", sure=1)
    frozen(project, silver="confidence")
    silver = SilverItem.objects.get().document
    assert not holdout_sampling.unlabeled_documents(project).filter(pk=silver.pk).exists()


def test_hold_out_and_labeled_documents_get_no_silver_label(project: Project) -> None:
    pre_label(project, "n00", "billing", sure=1)
    pre_label(project, "m00", "billing", sure=1)
    Document.objects.filter(external_id="n00").update(holdout=True)
    with pytest.raises(Refused):  # the hold-out is not labeled
        frozen(project, silver="confidence")
    Document.objects.filter(external_id="n00").update(holdout=False, state="skipped")
    dataset = frozen(project, silver="confidence")
    assert rows(dataset) == []


def test_new_silver_labels_make_a_new_version(project: Project) -> None:
    first = frozen(project, silver="confidence")
    assert frozen(project, silver="confidence") == first
    pre_label(project, "n00", "billing", sure=1)
    second = frozen(project, silver="confidence")
    assert second.number == first.number + 1
    assert second.sha256 == first.sha256
    with pytest.raises(Refused) as refused:
        frozen(project, silver="all")
    assert refused.value.field == "silver"


def test_pages(project: Project, client: Client) -> None:
    pre_label(project, "n00", "billing", sure=1)
    client.force_login(member(project, Role.ENGINEER))
    data = {"validation": "10", "holdout": "25", "seed": "17", "similarity": "80", "silver": "confidence"}
    client.post(reverse("datasets", args=["messages"]), {**data, "silver_confidence": "99"})
    dataset = DatasetVersion.objects.get()
    assert (dataset.counts["silver"]["documents"], dataset.rules["silver_confidence"]) == (1, 0.99)
    assert client.get(dataset.get_absolute_url()).context["silver"]["documents"] == 1

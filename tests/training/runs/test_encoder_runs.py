"""Runs of an encoder: heads on the form and on the page, what is refused, exports and the model card."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from labeling.datasets.queries import rows
from labeling.models import DatasetVersion
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import write_text
from tests.training.fakes import start_run
from training.exports.services import export_options, request_export
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.model_cards import card
from training.models import BaseModel, LengthReport, TrainingRun
from training.runs.differences import differences_of
from training.runs.forms import NewRunForm
from training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("queues")
URL = "/p/receipts/training/new/"


@pytest.fixture
def encoder_lengths(dataset: DatasetVersion, tiny_encoder_model: BaseModel) -> LengthReport:
    """Every row has 300 tokens under the tiny encoder, more than one window."""
    return LengthReport.objects.create(
        dataset=dataset,
        base_model=tiny_encoder_model,
        status=Status.DONE,
        lengths=[[row["id"], row["split"], 300, 0] for row in rows(dataset)],
        longest=300,
        model_sha256=tiny_encoder_model.sha256,
    )


def sent(client: Client, **changes: Any) -> dict[str, Any]:
    """What a browser sends for an untouched form of the encoder, with some changes."""
    form: NewRunForm = client.get(f"{URL}?base_model=tiny-encoder").context["form"]
    return {**{bound.name: bound.value() for bound in form if bound.value() not in (None, False)}, **changes}


def test_few_validation_documents_do_not_choose_the_weights(
    dataset: DatasetVersion, tiny_encoder_model: BaseModel
) -> None:
    for documents, metric in ((0, "validation_loss"), (49, "validation_loss"), (50, "field_accuracy")):
        dataset.counts["splits"]["validation"] = documents
        made = default_hyperparameters(dataset=dataset, base_model=tiny_encoder_model, method="full")
        assert (made.best_metric, made.early_stopping) == (metric, None)


def test_the_form_shows_heads_and_starts_the_preset_without_those_left_out(
    encoder_lengths: LengthReport, login: Callable[[str], Client]
) -> None:
    client = login("engineer")
    page = client.get(f"{URL}?base_model=tiny-encoder").content.decode()
    assert page.count("Span: one stretch of the text") == 4
    started = client.post(URL, sent(client, without_heads=["total", "date"]))
    assert started.status_code == 302, started.context["form"].errors
    run = TrainingRun.objects.get()
    spec = RunSpec.from_yaml(run.spec)
    assert (spec.method, spec.max_length, spec.augmentation) == ("full", 256, "exchange")
    assert sorted(spec.without_heads) == sorted(run.hyperparameters["without_heads"]) == ["date", "total"]
    again: NewRunForm = client.get(f"{URL}?from={run.number}").context["form"]
    assert sorted(again["without_heads"].value()) == ["date", "total"]
    refused = client.post(URL, sent(client, without_heads=["company", "date", "address", "total"]))
    assert refused.context["form"].errors["without_heads"] == ["All heads are left out. Keep at least one."]
    assert TrainingRun.objects.count() == 1


def test_the_page_of_a_run_shows_where_gold_was_found_and_what_differs(
    encoder_lengths: LengthReport, login: Callable[[str], Client]
) -> None:
    base: dict[str, Any] = {"method": "full", "max_length": 256}
    run = start_run(encoder_lengths, **base, without_heads=("total",))
    run.facts = {"heads": [{"field": "company", "kind": "span", "located": [15, 16]}]}
    run.save()
    page = " ".join(login("engineer").get(run.get_absolute_url()).content.decode().split())
    assert "15 of 16" in page
    assert "None: left out" in page
    other = start_run(encoder_lengths, **base)
    assert differences_of([run, other]) == [("Fields without a head", ("total", "none"))]


def test_an_encoder_is_not_exported_and_its_card_lists_heads_and_rules(encoder_lengths: LengthReport) -> None:
    run = start_run(encoder_lengths, method="full", max_length=256, without_heads=("date",))
    assert run.created_by is not None
    assert export_options(run) == []
    for key in ("q8_0", "axolotl"):
        with pytest.raises(Refused, match="cannot be exported") as caught:
            request_export(run=run, key=key, user=run.created_by)
        assert caught.value.code == "encoder"
    stored = {"spelling": {"address": {"rules": ["upper case"], "known": {"no1": "NO. 1"}}}}
    write_text(f"{run.folder_key}/merged/heads.json", json.dumps(stored))
    run.facts = {"heads": [{"field": "company", "kind": "span", "located": [15, 16]}]}
    text = card.text(run)
    assert "| company | Span: one stretch of the text | 15 of 16 |" in text
    assert "| date | none: left out |  |" in text
    assert "| address | upper case | 1 |" in text
    assert "load_predictor(Path(FOLDER)" in text
    assert "AutoModelForCausalLM" not in text
    assert "llama" not in text

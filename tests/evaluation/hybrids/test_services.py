"""A hybrid model from two evaluations: thresholds from what both answered, and the run that makes it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evaluation.hybrids import services
from evaluation.hybrids.thresholds import FieldThreshold, answered_fields
from evaluation.models import EvalRun
from evaluation.runs.services import start_evaluation
from labeling.datasets import freeze
from labeling.models import Split
from slmstudio.errors import Refused
from tests.evaluation.factories import World, complete, make_base_model, make_version, make_world, right
from training.exports.services import request_export
from training.model_cards import card
from training.models import BaseModel, TrainingRun
from training.spec import RunSpec

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db


def unsure_total(row: dict[str, Any]) -> dict[str, Any]:
    """Every total is wrong with a probability of 0.3; everything else is gold, and sure."""
    answer = right({**row, "gold": {**row["gold"], "total_amount": 1}})
    names = row["gold"]
    return {**answer, "confidence": {name: [0.3, 0.3] if name == "total_amount" else [0.95, 0.95] for name in names}}


def wrong_vendor(row: dict[str, Any]) -> dict[str, Any]:
    return right({**row, "gold": {**row["gold"], "vendor": "Other"}})


@pytest.fixture
def world(db: None, tmp_path: Path) -> World:
    """With enough validation documents for a significant gain."""
    made = make_world(tmp_path / "small-base", documents=32, holdout=4)
    made.dataset = freeze.freeze(project=made.project, user=made.engineer, validation_share=0.5)
    assert made.dataset.items.filter(split=Split.VALIDATION).count() >= 5
    return made


@pytest.fixture
def decoder(world: World) -> EvalRun:
    return evaluation(world, world.training_run, world.version, wrong_vendor)


@pytest.fixture
def encoder(world: World, tmp_path: Any) -> EvalRun:
    base = make_base_model(tmp_path / "encoder", slug="small-encoder", name="Small encoder")
    base.family = BaseModel.Family.ENCODER
    base.save()
    run, version = make_version(world.project, world.engineer, world.dataset, base)
    run.facts = {"heads": [{"field": name, "kind": "span"} for name in ("vendor", "total_amount", "invoice_id")]}
    run.save()
    return evaluation(world, run, version, unsure_total)


def evaluation(world: World, run: TrainingRun, version: Any, say: Any, mode: str = "constrained") -> EvalRun:
    made = start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, split=Split.VALIDATION, model=run, mode=mode
    )
    complete(made, say, version=version)
    made.refresh_from_db()
    return made


def test_thresholds_send_unsure_values_to_the_decoder(encoder: EvalRun, decoder: EvalRun) -> None:
    rows = {item.pattern: item for item in services.thresholds_of(encoder, decoder)}
    assert set(rows) == {"vendor", "total_amount", "invoice_id"}
    total, vendor = rows["total_amount"], rows["vendor"]
    assert total.asked == total.documents == total.encoder_wrong > 0
    assert (total.threshold, total.wrong) == (1.01, 0)
    assert (vendor.threshold, vendor.asked, vendor.wrong) == (0.0, 0, 0)
    assert vendor.decoder_wrong > 0


def test_a_decoder_that_answers_nothing_makes_no_hybrid(
    engineer: "Client", world: World, encoder: EvalRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = evaluation(world, world.training_run, world.version, lambda row: right({**row, "gold": {}}))
    fields = [
        FieldThreshold(name, 0.0, 9, 0, 1, 1, 9) for name in answered_fields(world.dataset.schema_version.compiled)
    ]
    assert services.no_gain(encoder, fields[:-1]) == ""
    monkeypatch.setattr(services, "thresholds_of", lambda *_: fields)
    assert engineer.get(f"{encoder.get_absolute_url()}hybrid/").context["no_gain"]
    with pytest.raises(Refused) as refused:
        services.start_hybrid(encoder=encoder, decoder=worse, user=world.engineer)
    assert refused.value.code == "no_gain"


def test_the_page_makes_the_run_of_a_hybrid_model(engineer: "Client", encoder: EvalRun, decoder: EvalRun) -> None:
    url = f"{encoder.get_absolute_url()}hybrid/"
    page = engineer.get(url)
    assert page.context["decoder"] == decoder
    assert {item.pattern for item in page.context["thresholds"]} == {"vendor", "total_amount", "invoice_id"}
    assert engineer.post(url, {"decoder": 999}).status_code == 422
    assert engineer.post(url, {"decoder": decoder.number}).status_code == 302
    run = TrainingRun.objects.latest("pk")
    spec = RunSpec.from_yaml(run.spec)
    assert run.base_model.family == BaseModel.Family.DECODER
    assert spec.hybrid is not None
    assert encoder.model_version is not None
    assert spec.hybrid.encoder.sha256 == encoder.model_version.sha256
    assert spec.hybrid.thresholds["total_amount"] == 1.01
    assert run.facts["hybrid"]["encoder"] == encoder.number
    content = engineer.get(run.get_absolute_url()).content.decode()
    assert ("data-curves" in content, 'id="samples"' in content, "GGUF q8_0" in content) == (False, False, False)
    assert run.created_by is not None
    with pytest.raises(Refused, match="cannot be exported"):
        request_export(run=run, key="q8_0", user=run.created_by)
    assert "| total_amount | 1.01 |" in card.body(run)
    assert card.lineage_of(run, spec)["encoder_sha256"] == spec.hybrid.encoder.sha256


def test_only_a_decoder_on_the_same_validation_documents_can_help(
    engineer: "Client", world: World, encoder: EvalRun, decoder: EvalRun
) -> None:
    with pytest.raises(Refused) as refused:
        services.start_hybrid(encoder=encoder, decoder=encoder, user=world.engineer)
    assert refused.value.field == "decoder"
    with pytest.raises(Refused) as refused:
        services.start_hybrid(encoder=decoder, decoder=decoder, user=world.engineer)
    assert refused.value.field == "encoder"
    assert engineer.get(f"{decoder.get_absolute_url()}hybrid/").status_code == 404


def test_a_hybrid_model_has_the_decoding_mode_of_its_thresholds(
    engineer: "Client", world: World, encoder: EvalRun
) -> None:
    free, grounded = (
        evaluation(world, world.training_run, world.version, wrong_vendor, mode) for mode in ("free", "grounded")
    )
    assert list(services.decoder_evaluations(encoder)) == [grounded]
    with pytest.raises(Refused) as refused:
        services.start_hybrid(encoder=encoder, decoder=free, user=world.engineer)
    assert refused.value.field == "decoder"
    run = services.start_hybrid(encoder=encoder, decoder=grounded, user=world.engineer)
    assert run.facts["hybrid"]["mode"] == "grounded"
    start: Any = {"project": world.project, "user": world.engineer, "dataset": world.dataset, "model": run}
    with pytest.raises(Refused) as refused:
        start_evaluation(**start)
    assert refused.value.field == "mode"
    assert start_evaluation(**start, mode="grounded").mode == "grounded"
    form = engineer.get(f"/p/invoices/evaluation/new/?model=run-{run.number}").context["form"]
    assert [mode for mode, _ in form.fields["mode"].choices] == ["grounded"]

"""Starting an evaluation in every way there is, from the form to the child's spec, and the ways side by side."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client
from django.urls import reverse

from evaluation.endpoints import permits
from evaluation.inference import local, prices
from evaluation.models import EvalRun
from evaluation.runs import services as run_services
from evaluation.runs.forms import EvaluationForm
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.services import start_evaluation
from evaluation.runs.views import by_decoding_mode
from labeling.datasets import queries as dataset_queries
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file
from tests.evaluation.factories import World, copied, endpoint, evaluated, right
from training.models import ModelExport


def url(world: World, name: str, *args: Any) -> str:
    return reverse(name, args=[world.project.slug, *args])


def exported(world: World, **changes: Any) -> ModelExport:
    key = f"{world.training_run.folder_key}/exports/q8_0"
    artifacts.write_text(f"{key}/invoices-v1-q8_0.gguf", "GGUF weights")
    path = artifacts.local_path(f"{key}/invoices-v1-q8_0.gguf")
    file = {"path": path.name, "size": path.stat().st_size, "sha256": sha256_file(path)}
    values = {"status": Status.DONE, "folder_key": key, "files": [file], "sha256": "ff", **changes}
    return ModelExport.objects.create(model_version=world.version, kind="q8_0", **values)


def start(world: World, **changes: Any) -> EvalRun:
    order: dict[str, Any] = {"dataset": world.dataset, "split": "validation", "confirm_holdout": True, **changes}
    return start_evaluation(project=world.project, user=world.engineer, **order)


# -- llama.cpp -----------------------------------------------------------------------------------------------------


def test_llama_cpp_answers_with_the_file_that_was_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(world, model=exported(world), concurrency=3)
    assert (run.training_run, run.model_label) == (world.training_run, "run 1, GGUF q8_0")
    asked = []

    def child(run: EvalRun, argv: list[str], *, on_event: Any, log: Any, **more: Any) -> ChildExit:
        asked.append(argv)
        on_event({"event": "start", "documents": 1, "at_once": 3, "engine": "llama.cpp"})
        for row in dataset_queries.rows(world.dataset, "validation"):
            on_event({"event": "output", "id": row["id"], **right(row)})
        artifacts.write_text(run.outputs_key, "")
        return ChildExit(ok=True)

    monkeypatch.setattr(local, "supervise", child)
    run_evaluation(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error, run.model_label) == (Status.DONE, "", "model v1, GGUF q8_0")
    [[python, _, module, path]] = asked
    assert (python, module) == (sys.executable, "evaluation.ml.generate_llama")
    spec = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    assert (spec["at_once"], spec["gguf"]["path"].endswith("q8_0.gguf")) == (3, True)
    assert run.export is not None
    assert spec["gguf"]["sha256"] == run.export.files[0]["sha256"]
    assert (run.facts["engine"], run.concurrency) == ("llama.cpp", 3)


def test_what_a_batch_could_not_do_is_not_claimed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that cannot answer several documents together says so, and its latency is that of one."""
    run = start(world, model=world.base_model, concurrency=8)

    def child(run: EvalRun, argv: list[str], *, on_event: Any, log: Any, **more: Any) -> ChildExit:
        on_event({"event": "start", "at_once": 1})
        return ChildExit(ok=False, error="It ends here.")

    monkeypatch.setattr(local, "supervise", child)
    run_evaluation(run.pk)
    run.refresh_from_db()
    assert (run.concurrency, run.error) == (1, "It ends here.")


# -- held to the document ------------------------------------------------------------------------------------------


def test_held_to_the_document_is_offered_where_a_field_is_copied(world: World) -> None:
    copied(world, vendor="none")
    world.project.refresh_from_db()
    assert [mode for mode, _ in run_services.decoding_modes(world.project.schema_version)] == ["constrained", "free"]
    with pytest.raises(Refused, match=r"No field of the schema is copied") as refusal:
        start(world, model=world.base_model, mode="grounded")
    assert refusal.value.field == "mode"
    copied(world)
    world.project.refresh_from_db()
    assert [mode for mode, _ in run_services.decoding_modes(world.project.schema_version)] == [
        "constrained",
        "grounded",
        "free",
    ]
    run = start(world, model=world.base_model, mode="grounded")
    assert run.get_mode_display() == "Grounded"
    assert "mode" in EvaluationForm(project=world.project).fields


# -- the permit ----------------------------------------------------------------------------------------------------


def test_the_owner_permits_on_the_page_of_the_endpoint(world: World, client: Client, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    external = endpoint(world, "http://127.0.0.1:9/v1")
    client.force_login(world.owner)

    def offered() -> str:
        """The models of the form of an evaluation, which says what is sent to them."""
        return str(EvaluationForm(project=world.project).fields["model"].choices)  # type: ignore[attr-defined]

    assert "127.0.0.1; no hold-out documents" in offered()
    client.post(url(world, "endpoint_permit", external.pk), {"permit": "yes"})
    assert "127.0.0.1; including hold-out documents" in offered()
    permit = permits.permit_for(external)
    assert permit is not None
    assert permit.user == world.owner
    assert b"by olga on" in client.get(url(world, "endpoint", external.pk)).content
    client.post(url(world, "endpoint_permit", external.pk), {"permit": "no"})
    assert permits.permit_for(external) is None


# -- side by side --------------------------------------------------------------------------------------------------


def test_free_and_held_stand_side_by_side(world: World, engineer: Client) -> None:
    held = evaluated(world, right)
    assert by_decoding_mode(held) == [], "there is no other way yet"
    old, free = evaluated(world, right, mode="free"), evaluated(world, right, mode="free")
    evaluated(world, right, split="validation", mode="free")
    evaluated(world, right, tuned=False, mode="free")
    assert by_decoding_mode(held) == [held, free]
    assert by_decoding_mode(old) == [held, old], "each page has its own run"
    page = engineer.get(held.get_absolute_url()).content.decode()
    assert "Decoding modes" in page
    assert free.get_absolute_url() in page


def test_the_contracts_concurrency() -> None:
    constraints: list[tuple[dict[str, Any], int | None]] = [
        ({"requests_per_second": 5}, None),
        ({"requests_per_second": 5, "latency_p95_ms": 1000}, 5),
        ({"requests_per_second": "5.1", "latency_p95_ms": "1000"}, 6),
        ({"requests_per_second": 0.1, "latency_p95_ms": 10}, 1),
        ({"requests_per_second": 500, "latency_p95_ms": 1000}, 32),
    ]
    for wanted, needed in constraints:
        assert prices.required_concurrency(wanted, 32) == needed

"""A project with everything an evaluation rests on, made through the real services; no model runs.

What a model would say is made from gold by ``pretend``: a seeded share of fields is spoiled in the ways models spoil
them. It enters the way a child's events do, so scoring, storing and summing up are the real thing.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.utils import timezone

from evaluation.approvals.decisions import confirm_waivers
from evaluation.endpoints import permits
from evaluation.endpoints.services import save_endpoint
from evaluation.inference.local import LocalBackend
from evaluation.models import Approval, Endpoint, EvalRun
from evaluation.runs import outputs, tasks
from evaluation.runs import services as run_services
from labeling.datasets import freeze
from labeling.datasets import queries as dataset_queries
from labeling.demo.samples import Sample, generate
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import DatasetVersion, Document, Membership, Project, Split
from labeling.projects.services import create_project, save_contract
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps, loads
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash, folder_manifest, sha256_file
from training.models import BaseModel, ModelVersion, TrainingRun
from training.spec import RunSpec
from training.strict_yaml import build

Say = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class World:
    """A project with its people, a frozen dataset, a base model and a fine-tuned one."""

    project: Project
    owner: Any
    engineer: Any
    manager: Any
    annotator: Any
    stranger: Any
    dataset: DatasetVersion
    base_model: BaseModel
    training_run: TrainingRun
    version: ModelVersion


@cache
def drawn(number: int, seed: int = 17) -> tuple[Sample, ...]:
    """Generated invoices, drawn once for all tests: drawing takes longer than everything else that a world needs."""
    return tuple(generate(number, seed))


def make_world(folder: Path, *, documents: int = 40, holdout: int = 20, slug: str = "invoices") -> World:
    """``documents`` generated invoices with gold, ``holdout`` of them held out; ``folder`` is for the base model."""
    users = get_user_model().objects
    people = {name: users.get_or_create(username=name)[0] for name in ("olga", "erik", "mona", "ana", "paul")}
    project = create_project(
        owner=people["olga"],
        name=slug.capitalize(),
        slug=slug,
        template="invoice",
        members={
            people["erik"]: Role.ENGINEER,
            people["mona"]: Role.MANAGER,
            people["ana"]: Role.ANNOTATOR,
        },
    )
    samples = drawn(documents)
    for part, held_out in ((samples[:holdout], True), (samples[holdout:], False)):
        rows = [
            ParsedRow(
                number, {"id": sample.external_id, "text": sample.text, "gold": {**sample.gold}, "tags": [*sample.tags]}
            )
            for number, sample in enumerate(part, start=1)
        ]
        result = import_rows(project=project, rows=rows, source="test", as_holdout=held_out)
        assert result.rejected == 0, result.rejects
    dataset = freeze.freeze(project=project, user=people["erik"], validation_share=0.1)
    base_model = make_base_model(folder)
    training_run, version = make_version(project, people["erik"], dataset, base_model)
    return World(
        project, people["olga"], people["erik"], people["mona"], people["ana"], people["paul"],
        dataset, base_model, training_run, version,
    )  # fmt: skip


def make_base_model(folder: Path, slug: str = "small-base", name: str = "Small base 10M") -> BaseModel:
    """A base model whose folder has files with the right names and no weights of use."""
    _model_files(folder, b"base weights of " + slug.encode())
    return BaseModel.objects.create(
        slug=slug,
        name=name,
        source=BaseModel.Source.FOLDER,
        location=str(folder),
        parameters=10_000_000,
        context=2048,
        instruction_tuned=True,
        folder=str(folder),
        sha256=folder_hash(folder),
    )


def _model_files(folder: Path, weights: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "tokenizer.json").write_text('{"model": "test"}')
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')


def make_version(
    project: Project, user: User, dataset: DatasetVersion, base_model: BaseModel
) -> tuple[TrainingRun, ModelVersion]:
    """A finished training run with the model version it made."""
    number = TrainingRun.objects.filter(project=project).count() + 1
    spec = build(
        RunSpec,
        {
            "base_model": {"slug": base_model.slug, "path": base_model.folder, "sha256": base_model.sha256},
            "dataset": {"path": str(dataset_queries.file_path(dataset)), "sha256": dataset.sha256},
            "contract": {"instruction": dataset.instruction, "schema": dataset.schema_version.compiled.schema},
            "output_dir": "unused",
        },
    )
    now = timezone.now()
    run = TrainingRun.objects.create(
        project=project,
        number=number,
        name=f"run {number}",
        dataset=dataset,
        base_model=base_model,
        spec=spec.to_yaml(),
        created_by=user,
        status=Status.DONE,
        started_at=now,
        finished_at=now,
    )
    key = f"{run.folder_key}/merged"
    folder = artifacts.local_path(key)
    _model_files(folder, f"weights of {run.pk}".encode())
    version = ModelVersion.objects.create(
        project=project,
        number=number,
        training_run=run,
        folder_key=key,
        sha256=folder_hash(folder),
        tokenizer_sha256=sha256_file(folder / "tokenizer.json"),
        files=folder_manifest(folder),
    )
    return run, version


@contextmanager
def as_engineer(world: World, user: User) -> Iterator[User]:
    """The user, who is an engineer of the project within the block."""
    rows = Membership.objects.filter(project=world.project, user=user)
    role = rows.get().role
    rows.update(role=Role.ENGINEER)
    yield user
    rows.update(role=role)


def confirmed(approval: Approval) -> Approval:
    """An approval whose waiver the owner confirmed."""
    owner = Membership.objects.get(project=approval.report.project, role=Role.OWNER).user
    confirm_waivers(report=approval.report, user=owner)
    return approval


def evaluated(
    world: World,
    say: Say,
    *,
    tuned: bool = True,
    user: User | None = None,
    split: str = Split.HOLDOUT,
    mode: str = EvalRun.Mode.CONSTRAINED,
    dataset: DatasetVersion | None = None,
    is_open: bool = True,
    latency_ms: Callable[[int], float] = lambda index: 300 + 7 * (index % 23),
) -> EvalRun:
    """A finished evaluation in which the model said, for each row of the dataset, what ``say`` returns.

    ``say`` gets the row and returns an event's ``raw`` and, where it is not "stop", its ``finish_reason``. ``is_open``:
    whether its outputs on the hold-out are open, which most tests read.
    """
    run = run_services.start_evaluation(
        project=world.project,
        user=user or world.engineer,
        dataset=dataset or world.dataset,
        split=split,
        mode=mode,
        model=world.training_run if tuned else world.base_model,
        confirm_holdout=True,
    )
    complete(run, say, version=world.version if tuned else None, latency_ms=latency_ms)
    if is_open and split == Split.HOLDOUT:
        rewrite(run, opened_at=timezone.now(), opened_reason="a test reads them")
    run.refresh_from_db()
    return run


def complete(
    run: EvalRun,
    say: Say,
    *,
    version: ModelVersion | None = None,
    latency_ms: Callable[[int], float] = lambda index: 300 + 7 * (index % 23),
) -> None:
    """Does what the job of a queued evaluation does, with the answers of ``say``."""
    assert run.claim()
    if version is not None:
        run.record(model_version=version)
    write_spec(run)
    store = outputs.OutputWriter(run)
    path = artifacts.local_path(run.outputs_key)
    with path.open("w", encoding="utf-8") as file:
        for index, row in enumerate(dataset_queries.rows(run.dataset, run.split)):
            event = {
                "event": "output",
                "id": row["id"],
                "finish_reason": "stop",
                "latency_ms": latency_ms(index),
                "prompt_tokens": len(row["text"]) // 4,
                "output_tokens": 40,
                **say(row),
            }
            store.add(event)
            file.write(json.dumps(event) + "\n")
    store.flush()
    facts = {"docs_per_second": 2.8, "peak_memory_bytes": 812_000_000, "device": "cpu", "max_new_tokens": 160}
    outputs.complete(run, sha256=sha256_file(path), facts=facts)


def write_spec(run: EvalRun) -> Path:
    """Writes the spec of a run on this machine, as its job does, and stores it on the row; returns its path."""
    backend = run.backend
    assert isinstance(backend, LocalBackend)
    task = tasks.evaluation_task(run, documents=lambda: (), on_output=lambda _: None, on_event=lambda _: None)
    text = backend.spec(task).to_yaml()
    artifacts.write_text(run.spec_key, text)
    run.record(spec=text)
    return artifacts.local_path(run.spec_key)


def copied(world: World, *, vendor: str = "required") -> None:
    """The contract says that only the vendor may be copied from the document, and a dataset is frozen under it."""
    schema = loads(world.dataset.schema_version.schema_text)
    for name, field in schema["properties"].items():
        options = field.get("x-slm", {})
        field["x-slm"] = {**options, "evidence": vendor if name == "vendor" else "none"}
    instruction = world.dataset.instruction
    save_contract(
        project=world.project, user=world.owner, instruction=instruction, schema_text=dumps(schema), constraints={}
    )
    world.dataset = freeze.freeze(project=world.project, user=world.engineer, validation_share=0.1)


def rename_vendor(world: World, title: str = "Seller") -> None:
    """The contract gets a new schema version, under which all gold is valid."""
    schema = loads(world.project.schema_version.schema_text)
    schema["properties"]["vendor"]["title"] = title
    instruction = world.dataset.instruction
    save_contract(
        project=world.project, user=world.owner, instruction=instruction, schema_text=dumps(schema), constraints={}
    )


def right(row: dict[str, Any]) -> dict[str, Any]:
    """The model says gold."""
    return {"raw": dumps(row["gold"])}


def broken(row: dict[str, Any]) -> dict[str, Any]:
    """The model says no JSON."""
    return {"raw": "I am sorry, I cannot"}


def pretend(seed: int, *, spoil: float, invalid: float = 0.0) -> Say:
    """A model that spoils each field with a chance of ``spoil``, and is cut off with a chance of ``invalid``."""

    def say(row: dict[str, Any]) -> dict[str, Any]:
        rng = random.Random(f"{seed} {row['id']}")
        gold = dict(row["gold"])
        if rng.random() < invalid:
            raw = dumps(gold)
            return {"raw": raw[: len(raw) // 2], "finish_reason": "length"}
        for name, value in gold.items():
            if value is not None and rng.random() < spoil:
                gold[name] = _spoiled(rng, value, row["gold"])
        return {"raw": dumps(gold)}

    return say


def _spoiled(rng: random.Random, value: Any, gold: dict[str, Any]) -> Any:
    if not isinstance(value, str):
        return value + rng.choice([1, 10, 100])
    if len(value) == 10 and value[4] == "-" and value[:4].isdigit():
        return f"{value[:8]}{(int(value[8:]) % 27) + 1:02d}"
    others = [other for other in gold.values() if isinstance(other, str) and other != value]
    kind = rng.choice(["cut", "letters", "other", "null"])
    if kind == "cut":
        return value[: max(1, len(value) // 2)]
    if kind == "other" and others:
        return rng.choice(others)
    if kind == "null":
        return None
    index = rng.randrange(len(value))
    return f"{value[:index]}{rng.choice('OIlB85')}{value[index + 1 :]}"


def documents_by_id(project: Project) -> dict[str, Document]:
    """The project's documents by their external id."""
    return {document.external_id: document for document in Document.objects.filter(project=project)}


def rewrite(row: Any, **values: Any) -> None:
    """Writes these columns of a row past every service, as a test needs them."""
    type(row).objects.filter(pk=row.pk).update(**values)


def permitted(world: World, endpoint: Endpoint) -> Endpoint:
    """The endpoint, to which the owner permits to send documents."""
    permits.grant(endpoint=endpoint, user=world.owner, purpose=permits.Purpose.DOCUMENTS)
    return endpoint


def endpoint(world: World, url: str, **changes: Any) -> Endpoint:
    """An external model of the project, with prices."""
    values: dict[str, Any] = {
        "name": "today", "url": url, "model": "fake-1", "key_variable": "", "structured": "auto", "logprobs": True,
        "timeout_seconds": 60, "concurrency": 4, "max_tokens": 200, "price_in": 2.5, "price_out": 10.0, **changes,
    }  # fmt: skip
    return save_endpoint(project=world.project, user=world.engineer, **values)

"""What an eval run evaluates: a folder with weights, its hashes, and how it is prompted."""

import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from django.db.models.functions import Collate, Length

from evaluation.models import EvalRun
from evaluation.runs import run_documents
from evaluation.runs.spec import EvalSpec
from labeling.datasets import queries as dataset_queries
from labeling.models import DatasetItem, DatasetVersion, Document, Split
from slmstudio.contract.json_text import loads
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash, sha256_file, sha256_text
from training.models import ModelVersion
from training.spec import RunSpec
from training.strict_yaml import build

EXAMPLES = 2


class SubjectError(Exception):
    """The model cannot be evaluated as it is; the message is a sentence."""


@dataclass(frozen=True)
class Subject:
    """A model ready to be evaluated. ``tuned``: it knows the task, so the prompt is the instruction alone."""

    name: str
    folder: Path
    sha256: str
    tokenizer_sha256: str
    prompt: str
    tuned: bool


def subject(run: EvalRun) -> Subject:
    """The model of a run. Raises SubjectError where there is none (yet)."""
    base, version = run.base_model, run.model_version
    folder = model_folder(run)
    if base is not None:
        return Subject(str(base), folder, base.sha256, _tokenizer_hash(folder), base.prompt, tuned=False)
    assert version is not None
    tokenizer = version.tokenizer_sha256 or _tokenizer_hash(folder)
    prompt = RunSpec.from_yaml(version.training_run.spec).prompt
    return Subject(str(version), folder, version.sha256, tokenizer, prompt, tuned=True)


def model_folder(run: EvalRun) -> Path:
    """Where the weights of a run's model lie. Raises SubjectError where there is no model yet."""
    if run.base_model is not None:
        return Path(run.base_model.folder)
    if run.model_version is None:
        raise SubjectError("There is no model yet: the training has not made one.")
    return artifacts.local_path(run.model_version.folder_key)


def _tokenizer_hash(folder: Path) -> str:
    try:
        return sha256_file(folder / "tokenizer.json")
    except OSError as error:
        raise SubjectError(f"The model's folder has no readable tokenizer.json ({error.strerror}).") from error


def resolve(run: EvalRun) -> None:
    """Names the model that the run's training has made. Raises SubjectError where it made none."""
    training = run.training_run
    if training is None or run.model_version is not None:
        return
    training.refresh_from_db()
    version = ModelVersion.objects.filter(training_run=training).first()
    if training.status != Status.DONE or version is None:
        why = f": {training.error}" if training.error else "."
        raise SubjectError(f"The training “{training}” {training.get_status_display()} and left no model{why}")
    run.record(model_version=version)


def check_files(run: EvalRun) -> None:
    """Raises SubjectError where the weights or the dataset are not the ones that were recorded."""
    model = subject(run)
    if not model.folder.is_dir():
        raise SubjectError(f"The folder of {model.name} has gone ({model.folder.name}).")
    found = folder_hash(model.folder)
    if found != model.sha256:
        raise SubjectError(
            f"The files of {model.name} have changed: their hash is {found[:12]}, recorded is {model.sha256[:12]}."
        )
    _check_export(run)
    path = dataset_queries.file_path(run.dataset)
    if not path.is_file() or sha256_file(path) != run.dataset.sha256:
        raise SubjectError(f"The file of {run.dataset} is not the one that was frozen. Freeze a new version.")


def _check_export(run: EvalRun) -> None:
    """Raises SubjectError where the run's GGUF file is not one that was made of its model."""
    if run.export is None:
        return
    if run.export.status != Status.DONE or run.export.model_version_id != run.model_version_id:
        raise SubjectError(f"{run.export.get_kind_display()} of {run.model_version} is not made. Export it again.")
    gguf(run)


def gguf(run: EvalRun) -> dict[str, str] | None:
    """Path and hash of the GGUF file that answers; None where the weights themselves do. Raises SubjectError."""
    if run.export is None:
        return None
    found = next((one for one in run.export.files if str(one["path"]).endswith(".gguf")), None)
    if found is None:
        raise SubjectError(f"{run.export.get_kind_display()} of {run.model_version} has no file. Export it again.")
    path = artifacts.local_path(run.export.folder_key) / str(found["path"])
    if not path.is_file():
        raise SubjectError(f"The file {path.name} has gone. Export it again.")
    return {"path": str(path), "sha256": str(found["sha256"])}


def write_spec(run: EvalRun) -> Path:
    """Writes the run's ``spec.yaml`` and keeps its text on the row; returns its path."""
    text = spec_of(run).to_yaml()
    artifacts.write_text(spec_key(run), text)
    run.record(spec=text)
    return artifacts.local_path(spec_key(run))


def spec_key(run: EvalRun) -> str:
    """The artifact with a run's EvalSpec."""
    return f"{run.folder_key}/spec.yaml"


def spec_of(run: EvalRun) -> EvalSpec:
    """What the process that answers for a run is told. Raises as ``subject``, ``gguf`` and ``examples``."""
    model, dataset = subject(run), run.dataset
    schema = dataset.schema_version
    return build(
        EvalSpec,
        {
            "model": {"path": str(model.folder), "sha256": model.sha256},
            "contract": {
                "instruction": dataset.instruction,
                "schema": loads(schema.schema_text),
                "schema_sha256": schema.sha256,
            },
            "prompt": model.prompt,
            "include_schema": not model.tuned,
            "examples": [] if model.tuned else examples(run),
            "mode": str(run.mode),
            "at_once": run.at_once,
            "gguf": gguf(run),
            # For the automation rate of a gate report; known only where one document is asked at a time.
            "confidence": run.split == Split.HOLDOUT and run.at_once == 1 and run.export is None,
            "documents": {
                "path": str(dataset_queries.file_path(dataset)),
                "sha256": dataset.sha256,
                "split": str(run.split),
                "ids": [] if run.benchmark is None else list(run_documents.documents(run)),
            },
            "outputs": str(artifacts.local_path(run.outputs_key)),
            "seed": dataset.seed,
        },
    )


def examples(run: EvalRun) -> list[dict[str, Any]]:
    """Two solved documents for a model that has not been tuned: drawn by the dataset's seed from the shorter half.

    They are training documents, or validation documents where those of the training split are judged: no answer is
    shown beforehand. Fewer than two where there are fewer. A benchmark has set its own aside.

    Raises:
        SubjectError: one of them is held out by now.
        FileNotFoundError: the artifact store no longer has the file of the version.
    """
    keys = example_keys(run)
    if held_out(keys):
        raise SubjectError(
            f"A solved example of {run.dataset} is held out now, and its gold would be shown. Freeze a new version."
        )
    items = run.dataset.items.filter(document__in=keys).values_list("document__external_id", "document_id")
    place = {external_id: keys.index(key) for external_id, key in items}
    wanted = (row for row in dataset_queries.rows(run.dataset) if str(row["id"]) in place)
    found = sorted(islice(wanted, len(place)), key=lambda row: place[str(row["id"])])
    return [{"text": row["text"], "gold": row["gold"]} for row in found]


def example_keys(run: EvalRun) -> list[int]:
    """Keys of the documents that ``examples`` shows."""
    if run.benchmark is not None:
        return list(run.benchmark.examples)
    return drawn_examples(run.dataset, Split.VALIDATION if run.split == Split.TRAIN else Split.TRAIN)


def drawn_examples(dataset: DatasetVersion, split: str) -> list[int]:
    """Keys of two documents of a split, or fewer where there are fewer: drawn by the dataset's seed from the shorter
    half. The database does it, because pages draw, too, and a file may be large.
    """
    items = dataset.items.filter(split=split)
    count = items.count()
    half = min(count, max(EXAMPLES, count // 2))
    # The order of code points, whatever the database's language.
    ordered = items.order_by(Length("document__text"), Collate("document__external_id", "C"))
    drawn = random.Random(dataset.seed).sample(range(half), min(EXAMPLES, half))
    return [ordered.values_list("document_id", flat=True)[place] for place in drawn]


def held_out(keys: list[int]) -> bool:
    """Whether one of these documents is held out, now or in any dataset version."""
    ever = DatasetItem.objects.filter(document__in=keys, split=Split.HOLDOUT)
    return ever.exists() or Document.objects.filter(pk__in=keys, holdout=True).exists()


def how(run: EvalRun) -> dict[str, str]:
    """How a run was made, in words by name, so that two runs can be told apart."""
    said = {
        "Model": run.subject,
        "Decoding": run.get_mode_display(),
        "Dataset": f"{run.dataset}, {run.get_split_display()}",
    }
    if run.endpoint is not None:
        asked = f"instruction and schema, {run.facts.get('examples', 0)} solved examples (chat)"
        effort = run.facts.get("reasoning_effort")
        return {**said, "Prompt": asked, "Device": "elsewhere", **({"Reasoning effort": effort} if effort else {})}
    if not run.spec:
        return said
    spec = EvalSpec.from_yaml(run.spec)
    shown = "instruction and schema" if spec.include_schema else "instruction"
    if spec.examples:
        shown += f", {len(spec.examples)} solved examples"
    return {
        **said,
        "Prompt": f"{shown} ({'chat template' if spec.prompt == 'chat' else 'plain text'})",
        "Instruction": sha256_text(spec.contract.instruction)[:12],
        "Longest output": f"{run.facts.get('max_new_tokens', spec.max_new_tokens)} tokens",
        "Device": str(run.facts.get("device", "–")),
    }

"""Models on this machine: transformers or llama.cpp in a child process that reads an EvalSpec and writes events."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from evaluation.inference.backend import (
    Backend,
    EvaluatedModel,
    EvaluatedRun,
    FileHash,
    ModelKey,
    ModelRun,
    ModelUnavailable,
    Task,
)
from evaluation.inference.prices import Price, hourly_price
from evaluation.inference.spec import EvalSpec
from labeling.models import DatasetVersion, SchemaVersion, Split
from slmstudio.contract.json_text import loads
from slmstudio.errors import Refused
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit, supervise
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash, sha256_file, sha256_text
from slmstudio.workers.gpu_reservations import ReservationCancelled, reserve_for_run
from training.base_models import preparation
from training.models import BaseModel, ModelExport, ModelVersion, TrainingRun
from training.spec import RunSpec
from training.strict_yaml import build


@dataclass(frozen=True)
class Weights:
    """A model folder. ``is_fine_tuned``: it knows the task, so the prompt is the instruction only. ``windows``: how it
    was trained to read long documents.
    """

    label: str
    folder: Path
    sha256: str
    tokenizer_sha256: str
    prompt: str
    is_fine_tuned: bool
    windows: dict[str, Any] | None = None


class LocalBackend(Backend):
    """A base model or a fine-tuned model in a child process."""

    #: the module of the child process
    module: ClassVar[str]

    def __init__(self, run: ModelRun) -> None:
        self._run = run

    @property
    def label(self) -> str:
        run = self._run
        name = str(run.base_model) if run.base_model is not None else str(run.model_version or run.training_run)
        return name if run.prompt is None else f"{name}, {run.prompt.short_label}"

    @property
    def kind(self) -> str:
        return "base model" if self.is_base_model else "fine-tuned here"

    @property
    def key(self) -> ModelKey:
        run, version = self._run, self._run.model_version
        return ModelKey(
            base_model=run.base_model_id,
            training_run=run.training_run_id,
            alternative=version.pk if version is not None and version.is_alternative else None,
            export=run.export_id,
            prompt=run.prompt_id,
        )

    @property
    def choice_key(self) -> str:
        run = self._run
        if run.prompt is not None:
            return f"prompt-{run.prompt.number}"
        if run.base_model is not None:
            return f"base-{run.base_model.slug}"
        if run.model_version is not None:
            return run.model_version.choice_key
        return f"run-{run.training_run.number}" if run.training_run is not None else ""

    @property
    def is_base_model(self) -> bool:
        return self._run.base_model_id is not None

    @property
    def parameters(self) -> int:
        training = self._run.training_run
        base = self._run.base_model or (training.base_model if training is not None else None)
        return base.parameters if base is not None else 0

    @property
    def trained_on(self) -> DatasetVersion | None:
        training = self._run.training_run
        return training.dataset if training is not None else None

    def labels(self) -> int | None:
        training = self._run.training_run
        if self.trained_on is None or training is None:
            return None
        share = float(training.hyperparameters.get("train_share", 1.0))
        return round(share * self.trained_on.items.filter(split=Split.TRAIN).count())

    @property
    def started_from(self) -> int | None:
        """The key of the base model that it is or was trained from."""
        run = self._run
        return run.base_model_id or (run.training_run.base_model_id if run.training_run is not None else None)

    def describe(self, facts: Mapping[str, Any], spec: str) -> dict[str, str]:
        if not spec:
            return {}
        read = EvalSpec.from_yaml(spec)
        shown = "instruction and schema" if read.include_schema else "instruction"
        if read.examples:
            shown += f", {len(read.examples)} few-shot examples"
        return {
            "Prompt": f"{shown} ({'chat template' if read.prompt == 'chat' else 'plain text'})",
            "Instruction": sha256_text(read.contract.instruction)[:12],
            "Max output tokens": str(facts.get("max_new_tokens", read.max_new_tokens)),
            "Device": str(facts.get("device", "–")),
        }

    @classmethod
    def schema_of(cls, model: EvaluatedModel) -> SchemaVersion | None:
        """That of the heads, where it has any: of an encoder or a hybrid."""
        training = None if isinstance(model, ModelExport) else (cls.columns_of(model) or {}).get("training_run")
        if not isinstance(training, TrainingRun) or not (training.base_model.is_encoder or "hybrid" in training.facts):
            return None
        return training.dataset.schema_version

    # -- files ------------------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The folder of the weights. Raises ModelUnavailable if the training has not finished."""
        run = self._run
        if run.base_model is not None:
            return Path(run.base_model.folder)
        if run.model_version is None:
            raise ModelUnavailable("The training run has not finished, so there is no model yet.")
        if run.model_version.weights_deleted_at is not None:
            raise ModelUnavailable(f"The weights of {run.model_version} were deleted.")
        return artifacts.local_path(run.model_version.folder_key)

    def weights(self) -> Weights:
        """Folder, hashes and prompt style. Raises ModelUnavailable if there is no model (yet)."""
        base, version, folder = self._run.base_model, self._run.model_version, self.folder
        if base is not None:
            return Weights(str(base), folder, base.sha256, _tokenizer_hash(folder), base.prompt, is_fine_tuned=False)
        assert version is not None
        tokenizer = version.tokenizer_sha256 or _tokenizer_hash(folder)
        run = version.training_run
        prompt, windows = RunSpec.from_yaml(run.spec).prompt, window_plan(run.facts)
        return Weights(str(version), folder, version.sha256, tokenizer, prompt, is_fine_tuned=True, windows=windows)

    def check_files(self) -> None:
        """Raises ModelUnavailable if the files are not the recorded ones."""
        weights = self.weights()
        if not weights.folder.is_dir():
            raise ModelUnavailable(f"The folder of {weights.label} is missing ({weights.folder.name}).")
        digest = folder_hash(weights.folder)
        if digest != weights.sha256:
            raise ModelUnavailable(
                f"The files of {weights.label} have changed: their hash is {digest[:12]}, the recorded hash is "
                f"{weights.sha256[:12]}."
            )

    def gguf_file(self) -> dict[str, str] | None:
        """Path and hash of the GGUF file that is loaded; None if the weights themselves are."""
        return None

    # -- generation -------------------------------------------------------------------------------------------------

    def answer(self, task: Task) -> ChildExit:
        base = self._run.base_model
        if base is not None and not base.is_prepared:
            task.job.record(stage="preparing the model")
            # Not fetched by a job: it may be many gigabytes, and a user downloads it on its page.
            preparation.prepare(base_model=base, run=task.job, download=False)
        task.job.record(stage="checking the files")
        with keep_alive(task.job):  # gigabytes are hashed
            self.check_files()
            text = self.spec(task).to_yaml()
        key = f"{task.folder_key}/spec.yaml"
        artifacts.write_text(key, text)
        task.on_event({"event": "ready", "spec": text})
        task.job.record(stage="loading the model")
        argv = self.command(artifacts.local_path(key))
        log = artifacts.local_path(f"{task.folder_key}/log.txt")
        try:
            with reserve_for_run(task.job) as devices:
                return supervise(
                    task.job, argv, on_event=task.on_child_event, log=log, env=devices.env, keep=devices.locks
                )
        except ReservationCancelled:
            return ChildExit(ok=False, interrupted=True)

    def command(self, spec: Path) -> list[str]:
        """The command line of the child process for the file of a spec."""
        return [sys.executable, "-m", self.module, str(spec)]

    def spec(self, task: Task) -> EvalSpec:
        """The spec of the child process. Raises ModelUnavailable as ``weights`` does."""
        weights, gguf, concurrency = self.weights(), self.gguf_file(), task.concurrency or 1
        return build(
            EvalSpec,
            {
                "model": {"path": str(weights.folder), "sha256": weights.sha256},
                "contract": {
                    "instruction": task.instruction,
                    "schema": loads(task.schema_text),
                    "schema_sha256": task.schema_sha256,
                },
                "prompt": weights.prompt,
                "include_schema": not weights.is_fine_tuned,
                "examples": [] if weights.is_fine_tuned else task.examples(),
                "mode": task.mode or "constrained",
                "at_once": concurrency,
                "gguf": gguf,
                # Known only where one document at a time is generated by the weights.
                "confidence": task.confidence and concurrency == 1 and gguf is None,
                "windows": weights.windows,
                "documents": task.documents_file(),
                "outputs": str(task.outputs),
                "seed": task.seed,
            },
        )

    def served_spec(self, run: EvaluatedRun) -> EvalSpec:
        return EvalSpec.from_yaml(run.spec)

    # -- price and identity -----------------------------------------------------------------------------------------

    def price(self, facts: Mapping[str, Any], price_per_hour: Any) -> Price:
        return hourly_price(price_per_hour)

    def spec_hash(self, run: EvaluatedRun) -> str:
        return sha256_text(run.spec)

    def identity(self, run: EvaluatedRun) -> dict[str, str]:
        return {"model": EvalSpec.from_yaml(run.spec).model.sha256, "tokenizer": self.weights().tokenizer_sha256}

    def current_identity(self) -> dict[str, str]:
        base, version = self._run.base_model, self._run.model_version
        model = base or version
        identity = {"model": model.sha256 if model is not None else ""}
        if version is not None and version.tokenizer_sha256:
            identity["tokenizer"] = version.tokenizer_sha256
        return identity

    def files(self) -> list[FileHash]:
        folder = self.folder
        return [
            ("model", folder, lambda: folder_hash(_present(folder))),
            ("tokenizer", folder / "tokenizer.json", lambda: sha256_file(folder / "tokenizer.json")),
        ]


class TransformersBackend(LocalBackend):
    """transformers with the weights of a base model or a model version."""

    module = "evaluation.ml.generate"

    @classmethod
    def of(cls, run: ModelRun) -> Self | None:
        columns = (run.endpoint_id, run.export_id, run.classical_id)
        return cls(run) if all(column is None for column in columns) else None

    @classmethod
    def columns_of(cls, model: EvaluatedModel) -> dict[str, EvaluatedModel] | None:
        if isinstance(model, BaseModel):
            return {"base_model": model}
        if isinstance(model, ModelVersion):
            return {"training_run": model.training_run, "model_version": model}
        return {"training_run": model} if isinstance(model, TrainingRun) else None

    @classmethod
    def only_mode(cls, model: EvaluatedModel) -> str:
        training = model.training_run if isinstance(model, ModelVersion) else model
        hybrid = training.facts.get("hybrid") if isinstance(training, TrainingRun) else None
        return str((hybrid or {}).get("mode", ""))

    @classmethod
    def check_model(cls, model: EvaluatedModel, *, mode: str, concurrency: int) -> None:
        if not cls.supports(model, mode):
            only = cls.only_mode(model)
            raise Refused(f"The thresholds of {model} hold for {only} decoding. Choose {only}.", field="mode")


class LlamaCppBackend(LocalBackend):
    """llama.cpp with a GGUF file that was exported from a model version."""

    module = "evaluation.ml.generate_llama"

    @classmethod
    def of(cls, run: ModelRun) -> Self | None:
        return cls(run) if run.export_id is not None else None

    @classmethod
    def columns_of(cls, model: EvaluatedModel) -> dict[str, EvaluatedModel] | None:
        if not isinstance(model, ModelExport):
            return None
        return {"training_run": model.model_version.training_run, "export": model}

    @property
    def export(self) -> ModelExport:
        """The export whose file is loaded."""
        assert self._run.export is not None
        return self._run.export

    @property
    def gguf_kind(self) -> str:
        return str(self.export.get_kind_display())

    @property
    def label(self) -> str:
        return f"{super().label}, {self.gguf_kind}"

    @property
    def choice_key(self) -> str:
        version = self._run.model_version
        return f"gguf-{version.number}-{self.export.kind}" if version is not None else super().choice_key

    def check_files(self) -> None:
        super().check_files()
        export, version = self.export, self._run.model_version
        if export.status != Status.DONE or version is None or export.model_version_id != version.pk:
            raise ModelUnavailable(f"{export.get_kind_display()} of {version} is not exported. Export it again.")
        self.gguf_file()

    def gguf_file(self) -> dict[str, str]:
        export = self.export
        name = f"{export.get_kind_display()} of {self._run.model_version}"
        file_entry = next((file for file in export.files if str(file["path"]).endswith(".gguf")), None)
        if file_entry is None:
            raise ModelUnavailable(f"{name} has no file. Export it again.")
        path = artifacts.local_path(export.folder_key) / str(file_entry["path"])
        if not path.is_file():
            raise ModelUnavailable(f"The file {path.name} is missing. Export it again.")
        return {"path": str(path), "sha256": str(file_entry["sha256"])}

    def identity(self, run: EvaluatedRun) -> dict[str, str]:
        return {"file": self.export.sha256}

    def current_identity(self) -> dict[str, str]:
        return {"file": self.export.sha256}

    def files(self) -> list[FileHash]:
        folder = artifacts.local_path(self.export.folder_key)
        return [("file", folder, lambda: folder_hash(_present(folder)))]

    def changed(self, run: EvaluatedRun) -> str:
        if not run.spec:
            return ""
        ran = EvalSpec.from_yaml(run.spec).gguf
        hashes = {str(file.get("sha256")) for file in self.export.files if str(file.get("path")).endswith(".gguf")}
        if ran is not None and ran.sha256 and hashes and ran.sha256 not in hashes:
            return f"{self.export.get_kind_display()} was exported again; another file generated these outputs."
        return ""


def window_plan(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of the ``WindowPlan`` in the facts of a training run; None for runs from before there were any."""
    plan = facts.get("windows")
    return {name: plan[name] for name in ("size", "whole", "answer")} if plan else None


def _tokenizer_hash(folder: Path) -> str:
    try:
        return sha256_file(folder / "tokenizer.json")
    except OSError as error:
        raise ModelUnavailable(f"The model's folder has no readable tokenizer.json ({error.strerror}).") from error


def _present(folder: Path) -> Path:
    if not folder.is_dir():
        raise ModelUnavailable("the folder with the weights is missing.")
    return folder

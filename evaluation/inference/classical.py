"""Classical models: a child process trains one, and another answers with it."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from django.db import transaction

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
from evaluation.inference.classical_spec import ClassicalSpec, ClassicalTrainSpec
from evaluation.inference.model_columns import AbstractClassicalModel
from evaluation.inference.prices import Price, hourly_price
from evaluation.inference.spec import EvalSpec
from labeling.datasets import queries as dataset_queries
from labeling.models import DatasetVersion, Document, SchemaVersion
from slmstudio.contract.json_text import loads
from slmstudio.errors import Refused
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.models import BackgroundRun
from slmstudio.runs.supervisor import ChildExit, supervise
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash, sha256_text
from training.child_processes import ChildFailed, run_child, spec_file
from training.strict_yaml import build


class ClassicalBackend(Backend):
    """A classical model in a child process. There is no decoding: outputs are composed from the schema."""

    decodes: ClassVar[bool] = False
    stage = "predicting"

    def __init__(self, run: ModelRun) -> None:
        self._run = run

    @classmethod
    def of(cls, run: ModelRun) -> Self | None:
        return cls(run) if run.classical_id is not None else None

    @classmethod
    def columns_of(cls, model: EvaluatedModel) -> dict[str, EvaluatedModel] | None:
        return {"classical": model} if isinstance(model, AbstractClassicalModel) else None

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def model(self) -> AbstractClassicalModel:
        """The row of the model."""
        assert self._run.classical is not None
        return self._run.classical

    @property
    def label(self) -> str:
        return str(self.model)

    @property
    def kind(self) -> str:
        return "classical"

    @property
    def key(self) -> ModelKey:
        return ModelKey(classical=self._run.classical_id)

    @property
    def choice_key(self) -> str:
        return f"classical-{self.model.number}"

    @property
    def trained_on(self) -> DatasetVersion | None:
        return self.model.dataset

    def labels(self) -> int | None:
        count = self.model.facts.get("labels")
        return None if count is None else int(count)

    def describe(self, facts: Mapping[str, Any], spec: str) -> dict[str, str]:
        labels = self.labels()
        return {"Training labels": "–" if labels is None else f"{labels:,}", "Device": str(facts.get("device", "–"))}

    # -- what it can do ---------------------------------------------------------------------------------------------

    @classmethod
    def only_mode(cls, model: EvaluatedModel) -> str:
        return "constrained"

    @classmethod
    def check_model(cls, model: EvaluatedModel, *, mode: str, concurrency: int) -> None:
        if not cls.supports(model, mode):
            raise Refused(f"{model} has no decoding modes. Choose constrained.", field="mode")
        if concurrency > 1:
            raise Refused(f"{model} answers one document at a time. Set the concurrency to 1.", field="concurrency")

    @classmethod
    def schema_of(cls, model: EvaluatedModel) -> SchemaVersion | None:
        return model.dataset.schema_version if isinstance(model, AbstractClassicalModel) else None

    def answer(self, task: Task) -> ChildExit:
        if not self.model.sha256:
            task.job.record(stage="training")
            self._train(task.job)
        task.job.record(stage="checking the files")
        with keep_alive(task.job):
            self.check_files()
            text = self.spec(task).to_yaml()
        key = f"{task.folder_key}/spec.yaml"
        artifacts.write_text(key, text)
        task.on_event({"event": "ready", "spec": text})
        task.job.record(stage="loading the model")
        log = artifacts.local_path(f"{task.folder_key}/log.txt")
        return supervise(task.job, self.command(artifacts.local_path(key)), on_event=task.on_child_event, log=log)

    def command(self, spec: Path) -> list[str]:
        """The child process that answers the documents of a spec."""
        return [sys.executable, "-m", "evaluation.ml.classical.answer", str(spec)]

    def spec(self, task: Task) -> ClassicalSpec:
        """The spec of the child process."""
        values = {
            "model": {"path": str(self.folder), "sha256": self.model.sha256},
            "contract": _contract(task.instruction, task.schema_text, task.schema_sha256),
            "documents": task.documents_file(),
            "outputs": str(task.outputs),
            "seed": task.seed,
        }
        return build(ClassicalSpec, values)

    def served_spec(self, run: EvaluatedRun) -> EvalSpec:
        return ClassicalSpec.from_yaml(run.spec).evaluation

    # -- training and files -----------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return artifacts.local_path(self.model.folder_key)

    def training_spec(self, output_dir: Path) -> ClassicalTrainSpec:
        """The spec that trains it again. Raises ModelUnavailable where the dataset file is missing."""
        model, dataset = self.model, self.model.dataset
        try:
            path = dataset_queries.file_path(dataset)
        except FileNotFoundError as error:
            raise ModelUnavailable(f"{error} Freeze a new version.") from error
        schema = dataset.schema_version
        left_out = Document.objects.filter(pk__in=model.excluded).order_by("pk")
        values = {
            "kind": str(model.kind),
            "contract": _contract(dataset.instruction, schema.schema_text, schema.sha256),
            "dataset": {"path": str(path), "sha256": dataset.sha256},
            "output_dir": str(output_dir),
            "labels": model.labels,
            "excluded": list(left_out.values_list("external_id", flat=True)),
            "seed": model.seed,
        }
        return build(ClassicalTrainSpec, values)

    def _train(self, job: BackgroundRun) -> None:
        """Trains into a folder of the job, which becomes the model's unless another job was faster."""
        model, folder = self.model, self.folder
        draft = folder.with_name(f"{folder.name}.{job.job_id}")
        spec = spec_file(self.training_spec(draft).to_yaml())
        try:
            log = artifacts.local_path(f"{model.folder_key}.log")
            done = run_child("evaluation.ml.classical.train", spec, log, run=job).get("done", {})
            facts = {name: value for name, value in done.items() if name != "event"}
            with transaction.atomic():
                locked = type(model)._default_manager.select_for_update().get(pk=model.pk)
                if not locked.sha256:
                    shutil.rmtree(folder, ignore_errors=True)
                    draft.rename(folder)
                    locked.sha256, locked.facts = folder_hash(folder), facts
                    locked.save(update_fields=["sha256", "facts"])
        except ChildFailed as failure:
            raise ModelUnavailable(f"{model} cannot be trained. {failure}") from failure
        finally:
            spec.unlink(missing_ok=True)
            shutil.rmtree(draft, ignore_errors=True)
        model.refresh_from_db(fields=["sha256", "facts"])

    def check_files(self) -> None:
        """Raises ModelUnavailable if the files are not the recorded ones."""
        if folder_hash(self._present_folder()) != self.model.sha256:
            raise ModelUnavailable(f"The files of {self.model} have changed: their hash differs.")

    def _present_folder(self) -> Path:
        if not self.folder.is_dir():
            raise ModelUnavailable(f"The files of {self.model} are missing.")
        return self.folder

    # -- price and identity -----------------------------------------------------------------------------------------

    def price(self, facts: Mapping[str, Any], price_per_hour: Any) -> Price:
        return hourly_price(price_per_hour)

    def identity(self, run: EvaluatedRun) -> dict[str, str]:
        return {"model": ClassicalSpec.from_yaml(run.spec).model.sha256}

    def current_identity(self) -> dict[str, str]:
        return {"model": self.model.sha256}

    def files(self) -> list[FileHash]:
        return [("model", self.folder, lambda: folder_hash(self._present_folder()))]

    def spec_hash(self, run: EvaluatedRun) -> str:
        return sha256_text(run.spec)


def _contract(instruction: str, schema_text: str, schema_sha256: str) -> dict[str, Any]:
    return {"instruction": instruction, "schema": loads(schema_text), "schema_sha256": schema_sha256}

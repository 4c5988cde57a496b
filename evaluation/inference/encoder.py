"""Trained encoders: a child process reads documents and answers with heads."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

from evaluation.inference.backend import EvaluatedModel, ModelRun, Task
from evaluation.inference.local import LocalBackend
from evaluation.inference.spec import EvalSpec
from slmstudio.errors import Refused
from training.models import BaseModel, ModelVersion, TrainingRun


class EncoderBackend(LocalBackend):
    """A model version whose base model is an encoder. It does not generate: there are no prompts or decoding modes, and
    its outputs always have the confidence of each field.
    """

    module = "evaluation.ml.answer_encoder"
    decodes: ClassVar[bool] = False
    stage = "predicting"

    @classmethod
    def of(cls, run: ModelRun) -> Self | None:
        training = run.training_run
        is_encoder = training is not None and run.export_id is None and training.base_model.is_encoder
        return cls(run) if is_encoder else None

    @classmethod
    def columns_of(cls, model: EvaluatedModel) -> dict[str, EvaluatedModel] | None:
        if isinstance(model, BaseModel):
            return {"base_model": model} if model.is_encoder else None
        training = model.training_run if isinstance(model, ModelVersion) else model
        if not isinstance(training, TrainingRun) or not training.base_model.is_encoder:
            return None
        return {"training_run": training} if model is training else {"training_run": training, "model_version": model}

    @property
    def kind(self) -> str:
        return "encoder"

    def describe(self, facts: Mapping[str, Any], spec: str) -> dict[str, str]:
        return {name.capitalize(): str(facts.get(name, "–")) for name in ("device", "precision")}

    @classmethod
    def only_mode(cls, model: EvaluatedModel) -> str:
        return "constrained"

    @classmethod
    def check_model(cls, model: EvaluatedModel, *, mode: str, concurrency: int) -> None:
        if isinstance(model, BaseModel):
            raise Refused(
                f"{model} is an encoder, which has no heads before it is trained. Choose a model that was trained "
                "from it.",
                field="model",
            )
        if not cls.supports(model, mode):
            raise Refused(f"{model} is an encoder, which has no decoding modes. Choose constrained.", field="mode")

    def spec(self, task: Task) -> EvalSpec:
        return replace(super().spec(task), confidence=False, windows=None)

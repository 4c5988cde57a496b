"""Creates a hybrid model from two evaluations on the validation documents of one dataset version."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.contrib.auth.models import User

from evaluation.hybrids.thresholds import (
    AnsweredField,
    FieldThreshold,
    answered_fields,
    choose_thresholds,
    is_in,
    probability_of,
)
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs.outputs import confidences
from labeling.models import Split
from slmstudio.access import Action, require
from slmstudio.contract.scoring.scorer import Outcome
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from training.models import ModelVersion, TrainingRun
from training.runs import services as training_services
from training.spec import HybridRef, ModelRef

_RIGHT = (Outcome.CORRECT, Outcome.BOTH_ABSENT)


def decoder_evaluations(encoder: EvalRun) -> Any:
    """The evaluations of decoders that an encoder can be combined with, newest first. Unconstrained decoding has no
    grammar that gives a decoder the encoder's values.
    """
    return (
        EvalRun.objects.with_model()
        .filter(
            project=encoder.project_id,
            dataset=encoder.dataset_id,
            split=Split.VALIDATION,
            status=Status.DONE,
            benchmark=None,
            export=None,
            training_run__base_model__family="decoder",
            model_version__weights_deleted_at=None,
        )
        .exclude(model_version=None)
        .exclude(mode=EvalRun.Mode.FREE)
        .order_by("-number")
    )


def thresholds_of(encoder: EvalRun, decoder: EvalRun) -> list[FieldThreshold]:
    """The thresholds of a hybrid model of both, by field; a field that the encoder has no head for has none."""
    return choose_thresholds(_answers(encoder, decoder))


def _answers(encoder: EvalRun, decoder: EvalRun) -> Iterator[AnsweredField]:
    compiled = encoder.dataset.schema_version.compiled
    known = confidences(encoder)
    if not known:
        raise Refused(
            f"The outputs of evaluation {encoder.number} are missing. Evaluate the encoder again.", field="encoder"
        )
    own = dict(_right_fields(encoder, answered_fields(compiled)))
    other = dict(_right_fields(decoder, answered_fields(compiled)))
    assert encoder.training_run is not None
    headed = {item["field"] for item in encoder.training_run.facts.get("heads") or []}
    for pattern in answered_fields(compiled):
        for document, fields in own.items() if pattern in headed else ():
            if document in other and document in known:
                probability = probability_of(pattern, known[document])
                yield AnsweredField(pattern, probability, fields[pattern], other[document][pattern])


def _right_fields(run: EvalRun, patterns: list[str]) -> Iterator[tuple[str, dict[str, bool]]]:
    """Each document with whether the value, or all of the list, at each place is right."""
    outputs = EvalOutput.objects.filter(eval_run=run).values_list("document__external_id", "score")
    for name, score in outputs:
        fields = [(item["path"], item["outcome"] in _RIGHT) for item in (score or {}).get("fields", [])]
        yield (
            name,
            {
                pattern: bool(score) and all(right for path, right in fields if is_in(path, pattern))
                for pattern in patterns
            },
        )


def no_gain(encoder: EvalRun, thresholds: list[FieldThreshold]) -> str:
    """Why a hybrid model would be the encoder alone; "" where the decoder answers something."""
    has_others = len(thresholds) < len(answered_fields(encoder.dataset.schema_version.compiled))
    if has_others or any(item.asked for item in thresholds):
        return ""
    return "A hybrid model would be the encoder alone: no field has significantly fewer errors with this decoder."


def start_hybrid(*, encoder: EvalRun, decoder: EvalRun, user: User) -> TrainingRun:
    """Queues the run that makes a hybrid model of the models of two evaluations on validation. It has the decoding mode
    of the decoder's evaluation.

    Raises:
        Refused: (``field`` encoder or decoder) an evaluation is not one of an encoder or of a decoder on the validation
            documents of the same dataset version, its files are gone, or the decoder would answer nothing.
    """
    require(encoder.project, user, Action.RUN)
    if not encoder.is_combinable:
        raise Refused("Choose a finished evaluation of an encoder on validation.", field="encoder")
    if not decoder_evaluations(encoder).filter(pk=decoder.pk).exists():
        raise Refused(
            f"Choose a finished evaluation of a decoder on the validation documents of {encoder.dataset}, with the "
            "weights that training saved, in constrained or grounded decoding.",
            field="decoder",
        )
    thresholds = thresholds_of(encoder, decoder)
    if problem := no_gain(encoder, thresholds):
        raise Refused(problem, field="decoder", code="no_gain")
    assert encoder.model_version is not None
    assert decoder.model_version is not None
    hybrid = HybridRef(
        encoder=_ref(encoder.model_version),
        decoder=_ref(decoder.model_version),
        thresholds={item.pattern: item.threshold for item in thresholds},
    )
    facts = {
        "encoder": encoder.number,
        "decoder": decoder.number,
        "mode": str(decoder.mode),
        "fields": [asdict(item) for item in thresholds],
    }
    return training_services.start_hybrid(
        encoder=encoder.model_version, decoder=decoder.model_version, hybrid=hybrid, facts=facts, user=user
    )


def _ref(version: ModelVersion) -> ModelRef:
    if version.weights_deleted_at is not None:
        raise Refused(f"The weights of {version} were deleted.", field="encoder")
    return ModelRef(path=str(artifacts.local_path(version.folder_key)), sha256=version.sha256)

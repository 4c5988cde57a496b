"""The registry of backends, and the only place that reads which model a run is of."""

from evaluation.inference.backend import Backend, EvaluatedModel, ModelRun
from evaluation.inference.classical import ClassicalBackend
from evaluation.inference.encoder import EncoderBackend
from evaluation.inference.external import ExternalBackend
from evaluation.inference.local import LlamaCppBackend, TransformersBackend
from labeling.models import SchemaVersion
from slmstudio.contract.schema.compiled import differing_fields
from slmstudio.errors import Refused
from slmstudio.text.formatting import first_names

#: an encoder is asked first: its rows look like those of a model that transformers generates with
BACKENDS: tuple[type[Backend], ...] = (
    ClassicalBackend,
    EncoderBackend,
    TransformersBackend,
    LlamaCppBackend,
    ExternalBackend,
)


def backend_of(run: ModelRun) -> Backend:
    """The backend that answers for a run (EvalRun or PrelabelRun)."""
    return next(backend for kind in BACKENDS if (backend := kind.of(run)) is not None)


def backend_class_of(model: EvaluatedModel) -> type[Backend]:
    """The backend that runs a BaseModel, TrainingRun, ModelExport, Endpoint or ClassicalModel."""
    return next(kind for kind in BACKENDS if kind.columns_of(model) is not None)


def columns_of(model: EvaluatedModel) -> dict[str, EvaluatedModel]:
    """The columns of an EvalRun of this model."""
    return backend_class_of(model).columns_of(model) or {}


def check_schema(model: EvaluatedModel, version: SchemaVersion) -> None:
    """Raises Refused (``field`` model) where a model has the fields of another schema version."""
    own = backend_class_of(model).schema_of(model)
    if own is None or own.compiled.hash == version.compiled.hash:
        return
    raise Refused(
        f"{model} was trained for schema {own}, which differs from {version} in "
        f"{first_names(differing_fields(own.compiled, version.compiled)) or 'no field'}. Train a model for {version}.",
        field="model",
        code="schema",
    )

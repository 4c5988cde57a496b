"""A backend answers prompts: the protocol that transformers, llama.cpp and OpenAI-compatible endpoints implement.

Everything that depends on where a model runs is a method here; ``evaluation.inference.backends`` chooses the backend
of a run. A new backend is a subclass, its line in the registry, and its choice in ``evaluation.runs.model_choices``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from evaluation.inference.completion import Completion, ResponseStatus, classify_output
from evaluation.inference.model_columns import AbstractClassicalModel, AbstractPrompt, ExternalModel
from evaluation.inference.prices import Price
from evaluation.inference.spec import EvalSpec
from labeling.models import DatasetVersion, SchemaVersion
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from slmstudio.runs.models import BackgroundRun
from slmstudio.runs.supervisor import ChildExit, Event
from training.models import BaseModel, ModelExport, ModelVersion, TrainingRun

#: a name, where it is stored, and its hash computed from the files
FileHash = tuple[str, Path, Callable[[], str]]


#: what can be evaluated
EvaluatedModel = BaseModel | TrainingRun | ModelVersion | ModelExport | ExternalModel | AbstractClassicalModel


class ModelRun(Protocol):
    """A run that names its model in columns: an EvalRun or a PrelabelRun."""

    @property
    def base_model(self) -> BaseModel | None: ...
    @property
    def base_model_id(self) -> int | None: ...
    @property
    def training_run(self) -> TrainingRun | None: ...
    @property
    def training_run_id(self) -> int | None: ...
    @property
    def model_version(self) -> ModelVersion | None: ...
    @property
    def endpoint(self) -> ExternalModel | None: ...
    @property
    def endpoint_id(self) -> int | None: ...
    @property
    def classical(self) -> AbstractClassicalModel | None: ...
    @property
    def classical_id(self) -> int | None: ...
    @property
    def prompt(self) -> AbstractPrompt | None: ...
    @property
    def prompt_id(self) -> int | None: ...
    @property
    def export(self) -> ModelExport | None: ...
    @property
    def export_id(self) -> int | None: ...
    @property
    def facts(self) -> dict[str, Any]: ...


class EvaluatedRun(Protocol):
    """A run as it was evaluated: an EvalRun."""

    @property
    def spec(self) -> str: ...
    @property
    def facts(self) -> dict[str, Any]: ...
    @property
    def mode(self) -> str: ...
    @property
    def dataset(self) -> DatasetVersion: ...


class ModelUnavailable(Exception):
    """The model cannot be run as it is; the message is a sentence."""


@dataclass(frozen=True)
class ModelKey:
    """Which model a run is of, whatever its decoding mode: keys of rows, and of an external model the name and URL that
    answered, because an endpoint can be changed. ``alternative``: the model version that a training run did not choose;
    None for the one that it chose, which may not exist yet."""

    base_model: int | None = None
    training_run: int | None = None
    alternative: int | None = None
    endpoint: int | None = None
    export: int | None = None
    classical: int | None = None
    prompt: int | None = None
    name: str = ""
    url: str = ""

    def columns(self) -> dict[str, int | None]:
        """Filters for runs; compare ``key`` as well, which also knows name and URL."""
        return {
            "base_model": self.base_model,
            "training_run": self.training_run,
            **({} if self.alternative is None else {"model_version": self.alternative}),
            "endpoint": self.endpoint,
            "export": self.export,
            "classical": self.classical,
            "prompt": self.prompt,
        }


@dataclass(frozen=True, slots=True)
class Output:
    """The output for one document. ``event``: as a file of outputs stores it."""

    event: Event
    _completion: Completion | None = None

    def completion(self, compiled: CompiledSchema) -> Completion:
        """The same with its status under a schema."""
        return self._completion or _completion_of_event(compiled, self.event)


def _completion_of_event(compiled: CompiledSchema, event: Event) -> Completion:
    seconds = float(event.get("latency_ms") or 0) / 1000
    output_tokens = int(event.get("output_tokens") or 0)
    if event.get("finish_reason") == "error":
        reason = str(event.get("error") or "")
        too_long = reason.startswith(("The prompt has ", "The document has "))
        status = ResponseStatus.TOO_LONG if too_long else ResponseStatus.MODEL_ERROR
        return Completion(status, reason, seconds=seconds, attempts=1)
    raw = str(event.get("raw") or "")
    status, detail = classify_output(compiled, raw, truncated=event.get("finish_reason") == "length")
    return Completion(
        status,
        detail,
        raw,
        {path: minimum for path, (minimum, _) in (event.get("confidence") or {}).items()},
        raw,
        tokens=int(event.get("prompt_tokens") or 0) + output_tokens,
        output_tokens=output_tokens,
        seconds=seconds,
        attempts=1,
    )


@dataclass(frozen=True, kw_only=True)
class Task:
    """Documents that a backend answers for a job.

    ``schema_text`` and ``schema_sha256`` are those of ``compiled``. ``documents`` yields (id, text) as they are needed;
    ``documents_file`` is the same as a ``DocumentsRef``; it may write the file. ``examples``: ``{"text", "gold"}``, or
    ``answer`` (gold in canonical JSON), read only if the model needs them. ``mode`` and ``concurrency``: None if the
    backend's own settings apply. ``folder_key``: where spec and log are stored.

    ``on_event`` gets ``ready`` before the first document, then what the backend reports (``start`` and ``done`` of a
    child process, ``options`` of an endpoint); ``on_output`` gets every output. Both can be called again with the same
    event after the database was unreachable. ``before_request`` raises where the next document must not be sent.
    """

    job: BackgroundRun
    compiled: CompiledSchema
    schema_text: str
    schema_sha256: str
    instruction: str
    documents: Callable[[], Iterable[tuple[str, str]]]
    documents_file: Callable[[], dict[str, Any]]
    examples: Callable[[], list[dict[str, Any]]]
    folder_key: str
    outputs: Path
    on_output: Callable[[Output], None]
    on_event: Callable[[Event], None]
    before_request: Callable[[], None] = lambda: None
    mode: str | None = None
    concurrency: int | None = None
    seed: int = 17
    confidence: bool = False

    def on_child_event(self, event: Event) -> None:
        """Delivers an event of a child process."""
        if event["event"] == "output":
            self.on_output(Output(event))
        else:
            self.on_event(event)


class Backend(ABC):
    """The model of one run, and how it answers. Built from the run's row; reading it runs no model."""

    #: whether document text leaves this machine
    is_external: ClassVar[bool] = False
    #: whether it generates text, so that decoding modes apply
    decodes: ClassVar[bool] = True
    #: whether the gateway can serve it as a package
    is_servable: ClassVar[bool] = True
    #: the stage that a run shows while outputs come in
    stage: ClassVar[str] = "generating"

    @classmethod
    @abstractmethod
    def of(cls, run: ModelRun) -> Self | None:
        """This backend where the columns of a run (EvalRun, PrelabelRun) name a model of its kind, else None."""

    @classmethod
    @abstractmethod
    def columns_of(cls, model: EvaluatedModel) -> dict[str, EvaluatedModel] | None:
        """The columns of an EvalRun that name a model of this backend's kind, else None."""

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def label(self) -> str:
        """The model's name on pages."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """ "base model", "fine-tuned here", "encoder", "classical" or "external"."""

    @property
    @abstractmethod
    def key(self) -> ModelKey:
        """Equal for runs of the same model."""

    @property
    @abstractmethod
    def choice_key(self) -> str:
        """The key of the model in forms and URLs: ``run-3``, ``version-7``, ``base-NAME``."""

    @property
    def is_base_model(self) -> bool:
        """Whether it can be fine-tuned here."""
        return False

    @property
    def gguf_kind(self) -> str:
        """The kind of GGUF file that llama.cpp loads; "" for any other backend."""
        return ""

    @property
    def parameters(self) -> int:
        """The number of parameters of it or its base model; 0 if it is unknown."""
        return 0

    @property
    def trained_on(self) -> DatasetVersion | None:
        """The dataset version whose training split it was trained on here; None if it was not."""
        return None

    def labels(self) -> int | None:
        """How many labels it was trained on here; None if that is unknown or it was not."""
        return None

    def describe(self, facts: Mapping[str, Any], spec: str) -> dict[str, str]:
        """How outputs were generated, by name, to distinguish two runs."""
        return {}

    # -- what it can do ---------------------------------------------------------------------------------------------

    @classmethod
    def only_mode(cls, model: EvaluatedModel) -> str:
        """The decoding mode of a model that has no other; "" where it can be chosen."""
        return ""

    @classmethod
    def supports(cls, model: EvaluatedModel, mode: str) -> bool:
        """Whether a model of this backend can decode in a mode."""
        return cls.only_mode(model) in ("", mode)

    @classmethod  # noqa: B027
    def check_model(cls, model: EvaluatedModel, *, mode: str, concurrency: int) -> None:
        """Raises Refused (``field`` model, mode or concurrency) where a model cannot be evaluated like this."""

    @classmethod
    def schema_of(cls, model: EvaluatedModel) -> SchemaVersion | None:
        """The only schema version that a model can answer; None if it is not bound to one."""
        return None

    def obstacle(self, facts: Mapping[str, Any] | None = None) -> str:
        """Why nothing can be sent to it now, as a sentence; "" if it can. ``facts`` of a run: it must also be the
        model that answered then."""
        return ""

    def served_spec(self, run: EvaluatedRun) -> EvalSpec:
        """How a package of the model answers: as it did in the run.

        Raises:
            Refused: (code ``external``) it has no files to package.
        """
        raise Refused("An external model has no files to package.", field="run", code="external")

    @property
    def is_available(self) -> bool:
        """Whether it is still in use."""
        return True

    @property
    def resumes(self) -> bool:
        """Whether outputs are kept when a run continues on another worker: they were paid for."""
        return False

    def answer(self, task: Task) -> ChildExit:
        """Answers the documents of a task.

        Raises:
            ModelUnavailable: files of the model are missing or changed.
            EndpointError: the endpoint keeps failing.
            Refused: the endpoint's key or URL cannot be used.
        """
        raise NotImplementedError

    def scorable_text(self, raw: str, *, benchmark: bool) -> str:
        """The part of an output that is scored: all of it, unless the backend's users extract the JSON."""
        return raw

    # -- what it costs, and what exactly it is ----------------------------------------------------------------------

    @abstractmethod
    def price(self, facts: Mapping[str, Any], price_per_hour: Any) -> Price:
        """The price list that applied to a run. ``price_per_hour``: of the contract's hardware."""

    def facts(self) -> dict[str, Any]:
        """Facts that a run stores before it starts: settings and prices of an endpoint."""
        return {}

    @abstractmethod
    def identity(self, run: EvaluatedRun) -> dict[str, str]:
        """Hashes by name of the model that answered a run: parts of the manifest."""

    @abstractmethod
    def current_identity(self) -> dict[str, str]:
        """The same hashes as the rows have them now."""

    def files(self) -> list[FileHash]:
        """The model's files, to hash them again."""
        return []

    def changed(self, run: EvaluatedRun) -> str:
        """A sentence where the model is no longer the one that answered a run; "" if it is."""
        return ""

    @abstractmethod
    def spec_hash(self, run: EvaluatedRun) -> str:
        """SHA-256 of the settings that a run's outputs were generated with."""

"""The registry of kinds of studies. A kind is one class: its spec, its steps and its result.

A study runs in one of two ways. With a job, ``steps`` yields one trial after the other, and ``conclude`` makes the
result. A composed study consists of other runs: ``begin`` starts them, ``advance`` is called when one of them ends.
"""

from abc import ABC
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from django.contrib.auth.models import User
from django.http import QueryDict
from django.urls import reverse
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from labeling.models import Project, Study
from slmstudio.access import Action
from slmstudio.errors import Refused

#: values of a choice with their labels, or of several groups by title
Choices = list[tuple[Any, Any]]


class StudySpec(BaseModel):
    """What a member chooses for a study. The title, range and description of a field are those of its form."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Spec = TypeVar("Spec", bound=StudySpec)


class Stopped(Exception):
    """The work of a study was interrupted: it is cancelled, or its worker stops."""


class StudyKind(ABC, Generic[Spec]):
    """One kind of study. Rows are changed by ``labeling.studies.services`` only, except ``trials`` in ``advance``."""

    key: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    spec: ClassVar[type[StudySpec]]
    #: the panel of its trials and its result
    template: ClassVar[str]
    styles: ClassVar[tuple[str, ...]] = ("css/evaluation.css",)
    action: ClassVar[Action] = Action.RUN
    on_gpu: ClassVar[bool] = False
    #: titles of groups of fields in the form, by the first field
    groups: ClassVar[Mapping[str, str]] = {}
    #: fields of the spec on which the defaults of others depend
    decisive: ClassVar[tuple[str, ...]] = ()

    def choices(self, project: Project) -> dict[str, Choices]:
        """The values of fields that depend on the project."""
        return {}

    def defaults(self, project: Project, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Values of fields that the user has not chosen yet."""
        return {}

    def form_context(self, project: Project, values: Mapping[str, Any]) -> dict[str, Any]:
        """For the form of a new study with these values: ``dataset_warnings``, ``notes`` (sentences by field), a
        ``link``, or what is ``missing`` (``title``, ``text``, ``url``, ``label``).
        """
        return {}

    def after_refusal(self, project: Project, user: User, spec: Spec, refusal: Refused) -> Mapping[str, str]:
        """The messages of a rejected study by field; what it lacks may be requested."""
        return refusal.errors

    def plan(self, study: Study, spec: Spec) -> None:
        """Checks the spec, and sets ``dataset``, ``progress_total`` and ``result`` of a study that is not saved yet.

        Raises:
            Refused: ``field`` is one of the spec.
        """

    def is_composed(self, spec: Spec) -> bool:
        """Whether the study consists of other runs."""
        return False

    def begin(self, study: Study, spec: Spec) -> None:
        """After a study was stored, or is resumed: starts the runs of a composed one, as far as they are missing."""

    def advance(self, study: Study, spec: Spec) -> None:
        """Brings a composed study, whose row is locked, up to date with its runs, and ends it. Idempotent."""

    def steps(self, study: Study, spec: Spec) -> Iterator[dict[str, Any]]:
        """The trials that are still to be measured, one by one. Raises Stopped or Refused."""
        return iter(())

    def conclude(self, study: Study, spec: Spec) -> dict[str, Any]:
        """The result, in the transaction of the end of the study. Raises Refused."""
        return {}

    def panel(self, study: Study, spec: Spec, query: QueryDict) -> dict[str, Any]:
        """The context of ``template``; ``query``: the parameters of the page."""
        return {}


def no_dataset(project: Project) -> dict[str, Any]:
    """The context of a form that needs a dataset version, where there is none."""
    return {
        "missing": {
            "title": "No dataset version yet",
            "text": "Label documents, then freeze a version with validation documents.",
            "url": reverse("datasets", args=[project.slug]),
            "label": "Go to datasets",
        }
    }


_kinds: dict[str, StudyKind[Any]] = {}


def register(kind: StudyKind[Any]) -> None:
    """Adds a kind."""
    _kinds[kind.key] = kind


def all_kinds() -> list[StudyKind[Any]]:
    """The kinds of all apps."""
    return list(_kinds.values())


def kind_of(key: str) -> StudyKind[Any] | None:
    """The kind with a key."""
    return _kinds.get(key)


def known_kind(study: Study) -> StudyKind[Any]:
    """The kind of a study."""
    return _kinds[study.kind]


def spec_of(study: Study) -> Any:
    """The spec of a study."""
    return known_kind(study).spec.model_validate(study.spec)


def read_spec(kind: StudyKind[Any], project: Project, values: Mapping[str, Any]) -> StudySpec:
    """The spec with these values, and the defaults of the project for others.

    Raises:
        Refused: by field.
    """
    try:
        return kind.spec.model_validate({**kind.defaults(project, values), **values})
    except ValidationError as error:
        raise refused(kind, error) from error


def refused(kind: StudyKind[Any], error: ValidationError) -> Refused:
    """The messages of invalid values, by field."""
    errors: dict[str, str] = {}
    for item in error.errors(include_input=False, include_url=False):
        name = str(item["loc"][0]) if item["loc"] else "form"
        text = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
        info = kind.spec.model_fields.get(name)
        errors.setdefault(name, text if info is None else f"{title_of(name, info)}: {text[:1].lower()}{text[1:]}.")
    first = next(iter(errors))
    return Refused(errors[first], field=first, errors=errors)


def title_of(name: str, info: FieldInfo) -> str:
    """The label of a field."""
    return info.title or name.replace("_", " ").capitalize()

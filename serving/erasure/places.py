"""The columns of the database in which a project stores texts, and what is erased from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import IntegrityError, models, transaction
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from evaluation.models import Approval, AuditEntry, GatePolicy, GateReport
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Contract,
    DatasetVersion,
    Document,
    DocumentSearch,
    Project,
    SchemaVersion,
)
from serving.erasure.pattern import ERASED, ErasedText
from serving.models import RequestLog

#: rows that are never changed: hashes and approvals rest on them, or a person edits them
KEPT = (AuditEntry, Approval, Contract, DatasetVersion, GatePolicy, GateReport, Project, SchemaVersion)
#: a document that has the text in one of these is erased
OF_DOCUMENTS = {
    Document: "pk",
    DocumentSearch: "document",
    Annotation: "document",
    AnnotationRevision: "annotation__document",
}
_MAX_STEPS = 3
#: ends of the names of columns without texts: hashes, and keys of files
_CODES = ("sha256", "salt", "_key", "slug")


@dataclass(frozen=True)
class Table:
    """A table with the path to its project, and its columns that may have texts."""

    model: Any
    path: str
    columns: tuple[str, ...]

    @property
    def title(self) -> str:
        """The name of its rows."""
        return str(self.model._meta.verbose_name_plural)

    def rows(self, project: Project, text: ErasedText) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Key of each row of a project that has the text, and the columns without it."""
        for key, *values in self._candidates(project, text).values_list("pk", *self.columns).iterator(chunk_size=100):
            changed = {}
            for column, value in zip(self.columns, values, strict=True):
                new, number = text.replaced(value)
                if number:
                    changed[column] = new
            if changed:
                yield key, changed

    def _candidates(self, project: Project, text: ErasedText) -> QuerySet[Any]:
        rows: QuerySet[Any] = self.model._base_manager.filter(**{self.path: project.pk})
        where = Q()
        for column in self.columns:
            rows = rows.annotate(**{f"{column}_text": Cast(column, TextField())})
            where |= Q(**{f"{column}_text__iregex": text.sql})
        return rows.filter(where)

    def replace(self, key: Any, changed: dict[str, Any]) -> None:
        """Stores columns of a row; where they must be unique, with the key of the row."""
        fitting = {name: self._cut(name, value) for name, value in changed.items()}
        try:
            with transaction.atomic():
                self.model._base_manager.filter(pk=key).update(**fitting)
        except IntegrityError:
            named = {name: f"{ERASED} {key}" if isinstance(value, str) else value for name, value in fitting.items()}
            self.model._base_manager.filter(pk=key).update(**named)

    def _cut(self, name: str, value: Any) -> Any:
        length = getattr(self.model._meta.get_field(name), "max_length", None)
        return value[:length] if isinstance(value, str) and length else value


@lru_cache(maxsize=1)
def tables() -> list[Table]:
    """All tables with texts of projects but that of requests, which have an erasure of their own."""
    found = []
    for model in apps.get_models():
        path, columns = _path(model), tuple(_columns(model))
        if path and columns and model is not RequestLog:
            found.append(Table(model, path, columns))
    return found


def _path(model: Any) -> str:
    """The lookup from a row to its project, by the fewest steps; "" without one."""
    if model is Project:
        return "pk"
    paths: list[tuple[Any, str]] = [(model, "")]
    for _ in range(_MAX_STEPS):
        following = []
        for current, way in paths:
            for field in current._meta.concrete_fields:
                if field.attname == "project_id":
                    return f"{way}project_id"
                if field.is_relation and field.related_model is not model:
                    following.append((field.related_model, f"{way}{field.name}__"))
        paths = following
    return ""


def _columns(model: Any) -> Iterator[str]:
    for field in model._meta.concrete_fields:
        is_text = isinstance(field, models.CharField | models.TextField | models.JSONField | ArrayField)
        is_code = bool(field.choices) or (field.name.endswith(_CODES) and field.name != "idempotency_key")
        if is_text and not is_code:
            yield field.name

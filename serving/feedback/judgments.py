"""Judgments of requests: by callers at the gateway, by reviewers, and by the gold labels of their documents."""

import uuid
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from labeling.models import Project
from serving.feedback.output_scores import UNKNOWN_RIGHT, UNKNOWN_WRONG, OutputScore, compare
from serving.models import Deployment, Judgment, Release, RequestLog
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.wrapped_values import wrap
from slmstudio.errors import Refused

OPENAI_PREFIX = "chatcmpl-"
_COLUMNS = (
    "right", "fields", "correct_fields", "counted_fields", "correction", "token_id", "user", "updated_at",
)  # fmt: skip


class UnknownRequest(Refused):
    """There is no such request in the project."""

    def __init__(self) -> None:
        super().__init__("There is no such request in this project.", field="request_id", code="request")


def parse_id(text: object) -> uuid.UUID:
    """The id of a request, also as the OpenAI-compatible interface writes it.

    Raises:
        UnknownRequest: it is none.
    """
    try:
        return uuid.UUID(str(text).removeprefix(OPENAI_PREFIX))
    except ValueError:
        raise UnknownRequest from None


def find_request(project: Project, request_id: uuid.UUID) -> RequestLog:
    """A caller's request.

    Raises:
        UnknownRequest: the log of the project does not have it; also for requests in shadow, which no caller knows.
    """
    rows = RequestLog.objects.filter(id=request_id, project_id=project.pk, shadow_of=None)
    found = rows.select_related("release__package__eval_run__dataset__schema_version").first()
    if found is None:
        raise UnknownRequest
    return found


def schema_of(project: Project, release: Release | None) -> CompiledSchema:
    """The schema that a release answers by: that of its evaluation, or of an external model the newest."""
    if release is not None and release.package is not None:
        return release.package.eval_run.dataset.schema_version.compiled
    return project.schema_version.compiled


def judge(
    *,
    project: Project,
    request: RequestLog,
    source: str,
    right: bool | None = None,
    output: Any = None,
    user: User | None = None,
    token_id: int | None = None,
) -> Judgment:
    """Stores a judgment: ``right``, or the corrected object as ``output``, a JSON value. The newest of a source counts.

    An object that equals the stored output counts as right. Where the output is no longer stored, an object counts as
    a correction, and its fields are not compared.

    Raises:
        Refused: neither or both are given; there is no output that could be right; or the object does not match the
            schema: ``errors`` has the message of every field.
    """
    if (right is None) == (output is None):
        raise Refused("Send either right or output.", field="right", code="what")
    schema = schema_of(project, request.release)
    if output is not None:
        output = wrap(schema.schema, output)
        problems = schema.validate(output)
        if problems:
            errors = {problem.path: problem.message for problem in reversed(problems)}
            first = problems[0]
            raise Refused(
                f"{first.path or 'The object'} {first.message}.", field=f"output.{first.path}".rstrip("."),
                code="schema", errors=errors,
            )  # fmt: skip
    elif right and request.status != 200:
        raise Refused("The request has no output.", field="right", code="no_output")
    gold = "" if output is None else dumps(output)
    score = _score(schema, request, right, gold)
    return store(
        project=project, request=request, source=source, score=score,
        correction=gold if gold and not score.right and _stores_content(project, request) else "",
        user=user, token_id=token_id,
    )  # fmt: skip


def store(
    *,
    project: Project,
    request: RequestLog,
    source: str,
    score: OutputScore,
    correction: str = "",
    user: User | None = None,
    token_id: int | None = None,
) -> Judgment:
    """Stores what a source found; replaces its former judgment of the request."""
    row = Judgment(
        project=project, request_id=request.id, day=request.day,
        requested_at=request.created_at, release=request.release, source=source,
        right=score.right, fields=score.fields, correct_fields=score.correct, counted_fields=score.counted,
        correction=correction, user=user, token_id=token_id, updated_at=timezone.now(),
    )  # fmt: skip
    [stored] = Judgment.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["request_id", "source"], update_fields=_COLUMNS
    )
    return stored


def _score(schema: CompiledSchema, request: RequestLog, right: bool | None, gold: str) -> OutputScore:
    if gold and request.status != 200:
        return compare(schema, text=request.text, output="", gold=gold)
    if not request.output:
        return UNKNOWN_RIGHT if right else UNKNOWN_WRONG
    if right:
        return compare(schema, text=request.text, output=request.output, gold=request.output)
    return compare(schema, text=request.text, output=request.output, gold=gold) if gold else UNKNOWN_WRONG


def _stores_content(project: Project, request: RequestLog) -> bool:
    """Whether the project still stores the texts of this request."""
    days = Deployment.objects.filter(project=project).values_list("retention_days", flat=True).first() or 0
    return request.created_at >= timezone.now() - timedelta(days=days) if days else False

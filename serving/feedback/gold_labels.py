"""Judgments by gold labels: a document that came from requests is labeled, and its label judges their outputs."""

import logging
from typing import Any

from django.db.models import F, OuterRef, Subquery

from labeling.models import AnnotationRevision, Gold, Project
from serving.feedback import judgments
from serving.feedback.output_scores import compare
from serving.feedback.redaction import redact, redact_value
from serving.models import Deployment, Judgment, RequestLog, SamplePlan
from serving.models.review import ReviewItem
from slmstudio.contract.json_text import JsonError, dumps, loads

logger = logging.getLogger(__name__)
BATCH = 500


def judge_all() -> int:
    """Judges the requests of all projects by new gold labels; a periodic task. Returns how many were judged."""
    judged = 0
    for deployment in Deployment.objects.select_related("project").order_by("pk"):
        try:
            judged += judge_by_gold(deployment.project)
        except Exception:  # other projects go on
            logger.exception("requests of deployment %s were not judged", deployment.pk)
    return judged


def judge_by_gold(project: Project) -> int:
    """Judges the drawn requests of documents whose gold label is new or was changed; returns how many.

    Requests whose output is no longer stored are left as they are.
    """
    gold = Gold.objects.current(project).filter(document=OuterRef("document")).values("revision")[:1]
    items = (
        ReviewItem.objects.filter(project=project, document__isnull=False)
        .annotate(gold=Subquery(gold))
        .exclude(gold=None)
        .exclude(judged_by__isnull=False, judged_by=F("gold"))
        .order_by("pk")
    )
    kinds = SamplePlan.objects.filter(deployment__project=project).values_list("redact", flat=True).first() or []
    judged = 0
    rows: list[Any] = list(items[:BATCH])
    for item in rows:
        revision = AnnotationRevision.objects.select_related("user").get(pk=item.gold)
        judged += _judge(project, item, revision, kinds)
        item.judged_by = revision
        item.save(update_fields=["judged_by"])
    return judged


def _judge(project: Project, item: ReviewItem, revision: AnnotationRevision, kinds: Any) -> int:
    draws = dict(item.draws.values_list("request_id", "day"))
    rows = RequestLog.objects.filter(id__in=draws, day__in=set(draws.values())).exclude(text="")
    judged = 0
    for row in rows.select_related("release__package__eval_run__dataset__schema_version"):
        schema = judgments.schema_of(project, row.release)
        if schema.validate(revision.value) or (row.status == 200 and not row.output):
            continue  # a label of another schema, or nothing to compare
        output = _redacted(row.output, kinds) if row.status == 200 else ""
        score = compare(schema, text=redact(row.text, kinds), output=output, gold=dumps(revision.value))
        judgments.store(
            project=project, request=row, source=Judgment.Source.GOLD, score=score, user=revision.user,
        )  # fmt: skip
        judged += 1
    return judged


def _redacted(output: str, kinds: Any) -> str:
    try:
        return dumps(redact_value(loads(output), kinds)) if kinds else output
    except (JsonError, ValueError):
        return output

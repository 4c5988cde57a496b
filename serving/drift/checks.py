"""The daily check: samples of the evaluation and of live requests, compared once a day."""

import json
import logging
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import DatabaseError
from django.db.models import Sum

from evaluation.models import EvalRun
from labeling.datasets import queries as dataset_queries
from labeling.models import Split
from serving.drift.comparison import compare
from serving.drift.profiles import Profile, profile
from serving.models import Deployment, DriftCheck, Package, Release, RequestLog, Traffic
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts

logger = logging.getLogger(__name__)
#: documents of one sample, and live ones under which earlier days are added, and under which nothing is compared
MAX_DOCUMENTS = 2_000
ENOUGH = 200
MIN_DOCUMENTS = 50
MAX_DAYS = 7
#: why nothing was compared
NO_REFERENCE, TOO_FEW = "no_reference", "too_few"


def check_due(now: datetime) -> int:
    """Makes yesterday's checks that are missing; returns their number."""
    day = (now.astimezone(UTC) - timedelta(days=1)).date()
    done = 0
    rows = Deployment.objects.with_releases().filter(stable__isnull=False)
    for deployment in rows.exclude(project__drift_checks__day=day).order_by("pk"):
        try:
            done += check(deployment, day) is not None
        except DatabaseError:
            raise
        except Exception:  # other projects are checked all the same
            logger.exception("drift of deployment %s", deployment.pk)
    return done


def check(deployment: Deployment, day: date) -> DriftCheck | None:
    """The check of a day; None where another process made it."""
    release = deployment.stable
    assert release is not None
    found = DriftCheck(project=deployment.project, release=release, day=day)
    run = reference_run(release)
    reference = [] if run is None else reference_profiles(run, with_confidence=_same_engine(release))
    found.reference_count = len(reference)
    if run is None or len(reference) < MIN_DOCUMENTS // 2:
        found.problem = NO_REFERENCE
    else:
        live, found.days = live_profiles(release, run.dataset.schema_version.compiled, day)
        found.live_count = len(live)
        if len(live) < MIN_DOCUMENTS:
            found.problem = TOO_FEW
        else:
            findings = compare(reference, live)
            found.findings = [one.as_dict() for one in findings]
            found.changed = sum(one.changed for one in findings)
    # Made once: the rate of false alarms is that of one check a day.
    [stored] = DriftCheck.objects.bulk_create([found], ignore_conflicts=True)
    return stored


def reference_run(release: Release) -> EvalRun | None:
    """The evaluation whose documents and outputs are compared with: that of the package, or of an external model its
    newest one on the hold-out."""
    if release.package is not None:
        return release.package.eval_run
    runs = EvalRun.objects.filter(project=release.project_id, endpoint=release.endpoint_id, split=Split.HOLDOUT)
    return runs.filter(status=Status.DONE).order_by("-pk").first()


def _same_engine(release: Release) -> bool:
    """Token probabilities of another engine or quantization are others."""
    package = release.package
    if package is None:
        return True
    evaluated_with = (Package.Engine.TRANSFORMERS, Package.Engine.SKLEARN)
    return package.engine in evaluated_with or package.eval_run.export_id is not None


def reference_profiles(run: EvalRun, *, with_confidence: bool) -> list[Profile]:
    """The documents of an evaluation with the model's outputs, not with gold: its errors are in both samples."""
    texts = {str(row["id"]): str(row["text"]) for row in dataset_queries.rows(run.dataset, run.split)}
    path = artifacts.local_path(run.outputs_key)
    found: list[Profile] = []
    if not path.is_file():
        return found
    schema = run.dataset.schema_version.compiled
    with path.open(encoding="utf-8") as file:
        for line in file:
            event: dict[str, Any] = json.loads(line)
            text = texts.get(str(event.get("id")))
            if text is None or event.get("finish_reason") == "error" or len(found) >= MAX_DOCUMENTS:
                continue
            confidence = event.get("confidence") if with_confidence else None
            found.append(
                profile(schema, text=text, raw=str(event.get("raw") or ""), confidence=_minimums(confidence or {}))
            )
    return found


def live_profiles(release: Release, schema: CompiledSchema, day: date) -> tuple[list[Profile], int]:
    """Documents that callers sent up to the end of a day, each once, and how many days they are from."""
    days = 1
    keys = _keys(release, day, day)
    while len(keys) < ENOUGH and days < MAX_DAYS:
        days += 1
        keys = _keys(release, day - timedelta(days=days - 1), day)
    rows = RequestLog.objects.filter(day__in={one for one, _ in keys}, id__in=[key for _, key in keys])
    profiles = [
        # Where a larger model answered, what the small one wrote is compared.
        profile(schema, text=row.text, raw=row.first_output or row.output, confidence=_minimums(row.confidence))
        for row in rows.iterator()
    ]
    return [one for one in profiles if one.values], days


def _keys(release: Release, first: date, last: date) -> list[tuple[date, Any]]:
    """Day and id of the requests to compare, a uniform sample of the documents where there are many."""
    rows = RequestLog.objects.filter(
        project_id=release.project_id, release=release, shadow_of=None, status=200, day__gte=first, day__lte=last,
        created_at__gte=datetime.combine(first, time(), UTC),
        created_at__lt=datetime.combine(last + timedelta(days=1), time(), UTC),
    ).exclude(key_sha256="")  # fmt: skip
    traffic = Traffic.objects.filter(
        project_id=release.project_id, release_id=release.pk, seconds=3_600,
        start__gte=datetime.combine(first, time(), UTC), start__lte=datetime.combine(last, time(23), UTC),
    ).exclude(source="shadow")  # fmt: skip
    number = traffic.aggregate(number=Sum("requests"))["number"] or 0
    if number > 4 * MAX_DOCUMENTS:
        # The hash of a document is uniform: its first digits draw a share of the documents.
        rows = rows.filter(key_sha256__lt=f"{int(4 * MAX_DOCUMENTS / number * 16**8):08x}")
    distinct = rows.order_by("key_sha256", "created_at").distinct("key_sha256").values_list("day", "id")
    return list(distinct[:MAX_DOCUMENTS])


def _minimums(confidence: dict[str, Any]) -> dict[str, float]:
    return {path: float(value[0] if isinstance(value, list | tuple) else value) for path, value in confidence.items()}

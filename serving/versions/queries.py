"""What the page of the versions shows."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Avg, Q, Sum

from evaluation.inference.prices import cost_of_time, cost_of_tokens
from evaluation.models import EvalRun
from labeling.models import Contract, Project
from serving.models import Deployment, DeploymentEvent, Release, RequestLog, SampleDay
from serving.review.accuracy import live_accuracies
from serving.review.retraining import training_run_of
from slmstudio.runs.models import Status

Kind = DeploymentEvent.Kind
#: days of the share of the traffic, and of the cost
SHARE_DAYS, COST_DAYS = 7, 1


def versions(project: Project, now: datetime) -> list[dict[str, Any]]:
    """Every version that was deployed, the newest first, in a fixed number of queries. Rates are ``{rate, low, high,
    n}``; ``until`` None: it is served now."""
    releases = list(
        Release.objects.filter(project=project)
        .select_related(
            "report", "endpoint", "package__project", "package__eval_run__dataset",
            "package__eval_run__training_run__dataset", "package__eval_run__training_run__base_model",
            "package__eval_run__model_version__training_run__dataset",
            "package__eval_run__base_model", "package__eval_run__export", "package__eval_run__classical__dataset",
        )
        .order_by("-number")
    )  # fmt: skip
    deployment: Deployment | None = Deployment.objects.filter(project=project).first()
    served, live = _periods(project, deployment), live_accuracies(project)
    requests, shares = _requests(project, now)
    costs = _costs(project, releases, now)
    evaluations = _evaluations(project, releases)
    rows = []
    for release in releases:
        since, until = served.get(release.pk, (None, None))
        evaluation = evaluations.get(release.pk)
        scores = evaluation.scores if evaluation is not None else {}
        rows.append({
            "release": release, "since": since, "until": until, "role": _role(deployment, release),
            "holdout": scores.get("document_exact"), "field_accuracy": (scores.get("field_exact") or {}).get("rate"),
            "live": live.get(release.pk), "requests": requests.get(release.pk, 0), "share": shares.get(release.pk),
            "cost": costs.get(release.pk), "training_run": training_run_of(release), "evaluation": evaluation,
            "dataset": release.package.eval_run.backend.trained_on if release.package is not None else None,
        })  # fmt: skip
    return rows


def _role(deployment: Deployment | None, release: Release) -> str:
    if deployment is None:
        return ""
    if deployment.stable_id == release.pk:
        return "stable"
    return str(deployment.stage) if deployment.candidate_id == release.pk else ""


def _periods(project: Project, deployment: Deployment | None) -> dict[int, tuple[datetime, datetime | None]]:
    """Release -> when it was first served, and when it no longer was."""
    now = {deployment.stable_id, deployment.candidate_id} - {None} if deployment is not None else set()
    served: dict[int, tuple[datetime, datetime | None]] = {}
    present: set[int] = set()
    rows = DeploymentEvent.objects.filter(project=project).order_by("pk")
    for kind, release, stable, at in rows.values_list("kind", "release_id", "stable_id", "created_at"):
        candidate = {release} if kind in (Kind.DEPLOYED, Kind.PROMOTED, Kind.ROLLED_BACK) else set()
        after = {pk for pk in (stable, *candidate) if pk is not None}
        for pk in present - after:
            served[pk] = (served[pk][0], at)
        for pk in after:
            served[pk] = (served[pk][0] if pk in served else at, None)
        present = after
    return {
        pk: (since, None if pk in now else until) for pk, (since, until) in served.items()
    }  # fmt: skip


def _requests(project: Project, now: datetime) -> tuple[dict[int, int], dict[int, float]]:
    """Release -> all requests, and its share of those of the last days."""
    since = (now - timedelta(days=SHARE_DAYS)).date()
    rows = (
        SampleDay.objects.filter(project=project)
        .values_list("release_id")
        .annotate(total=Sum("requests"), recent=Sum("requests", filter=Q(day__gte=since), default=0))
    )
    totals = {release: (total, recent) for release, total, recent in rows}
    everything = sum(recent for _, recent in totals.values())
    shares = {release: recent / everything for release, (_, recent) in totals.items() if everything}
    return {release: total for release, (total, _) in totals.items()}, shares


def _costs(project: Project, releases: list[Release], now: datetime) -> dict[int, float]:
    """Release -> cost of 1,000 requests: time at the contract's price per hour, or tokens at the endpoint's price."""
    since = now - timedelta(days=COST_DAYS)
    rows = (
        RequestLog.objects.filter(project_id=project.pk, status=200, created_at__gte=since, day__gte=since.date())
        .values_list("release_id")
        .annotate(ms=Avg("model_ms"), prompt=Avg("prompt_tokens"), output=Avg("output_tokens"))
    )
    means = {release: values for release, *values in rows}
    constraints = Contract.objects.filter(project=project).values_list("constraints", flat=True).first() or {}
    per_hour = float(constraints.get("hardware_price_per_hour") or 0)
    costs = {}
    for release in releases:
        if release.pk not in means:
            continue
        ms, prompt, output = means[release.pk]
        endpoint = release.endpoint
        if endpoint is None and per_hour:
            costs[release.pk] = 1_000 * cost_of_time(ms, per_hour)
        elif endpoint is not None and endpoint.price_in is not None and endpoint.price_out is not None:
            costs[release.pk] = 1_000 * cost_of_tokens(
                prompt, output, float(endpoint.price_in), float(endpoint.price_out)
            )
    return costs


def _evaluations(project: Project, releases: list[Release]) -> dict[int, EvalRun]:
    """Release -> its hold-out evaluation: that of the package, or the newest of an external model."""
    evaluations = {release.pk: release.package.eval_run for release in releases if release.package is not None}
    endpoints = {release.endpoint_id: release.pk for release in releases if release.endpoint_id is not None}
    runs: defaultdict[int, list[EvalRun]] = defaultdict(list)
    if endpoints:
        rows = EvalRun.objects.filter(project=project, endpoint__in=endpoints, status=Status.DONE).on_holdout()
        for run in rows.select_related("dataset").order_by("number"):
            runs[int(run.endpoint_id or 0)].append(run)
    for endpoint, evaluated in runs.items():
        evaluations[endpoints[endpoint]] = evaluated[-1]
    return evaluations

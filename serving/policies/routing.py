"""What the gateway needs of policies and calibrations, read with the routes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from evaluation.models import Endpoint
from serving.confidence.budget import Budget, LimitPoint, choose
from serving.confidence.calibration import Calibration
from serving.confidence.decisions import Policy
from serving.confidence.records import DocumentRecord
from serving.models import AnswerPolicy, PackageCalibration, Release


@dataclass(frozen=True)
class ReleaseConfidence:
    """The calibration of a release, and its limit under the error budget; None: nothing is automatic."""

    calibration: Calibration
    limit: float | None


@dataclass(frozen=True)
class DeploymentPolicy:
    """A policy with the endpoint of its larger model."""

    policy: Policy
    endpoint: Endpoint | None


def policies(deployments: Iterable[int]) -> dict[int, AnswerPolicy]:
    """The policy of each deployment that has one."""
    rows = AnswerPolicy.objects.filter(deployment__in=list(deployments)).select_related("endpoint__project")
    return {row.deployment_id: row for row in rows}


def deployment_policy(row: AnswerPolicy) -> DeploymentPolicy:
    """A row as the gateway applies it; an endpoint that was removed is not asked."""
    endpoint = row.endpoint if row.endpoint is not None and row.endpoint.retired_at is None else None
    return DeploymentPolicy(
        Policy(
            has_fallback=endpoint is not None,
            on_invalid=row.on_invalid,
            on_invariant=row.on_invariant,
            on_unavailable=row.on_unavailable,
            min_confidence=row.min_confidence,
            field_confidence={str(name): float(value) for name, value in row.field_confidence.items()},
            has_budget=row.budget_wrong is not None,
            rest_to_fallback=row.rest == AnswerPolicy.Rest.FALLBACK,
            is_broken=row.broken_at is not None,
            audit_share=row.audit_share,
        ),
        endpoint,
    )


def budget_of(row: AnswerPolicy | None) -> Budget | None:
    """The error budget of a policy."""
    if row is None or row.budget_wrong is None:
        return None
    unit = "document" if row.budget_unit == AnswerPolicy.Unit.DOCUMENT else "field"
    basis = "expected" if row.basis == AnswerPolicy.Basis.EXPECTED else "proven"
    return Budget(row.budget_wrong, row.budget_of, unit, basis)  # type: ignore[arg-type]


def release_confidences(releases: Sequence[Release], budget: Budget | None) -> dict[int, ReleaseConfidence]:
    """Release -> its calibration and limit, for those that have one."""
    found = {}
    for release, calibration in calibrations_of(releases).items():
        limit = None if budget is None else chosen_limit(calibration.pk, calibration.sha256, budget)
        fitted = _calibration(calibration.pk, calibration.sha256)
        found[release] = ReleaseConfidence(fitted, limit.limit if limit else None)
    return found


def calibrations_of(releases: Sequence[Release]) -> dict[int, PackageCalibration]:
    """Release -> the calibration of what it serves, without its records."""
    wanted = {one.pk: one.package for one in releases if one.package is not None}
    rows = PackageCalibration.objects.filter(package__in=[package.pk for package in wanted.values()])
    by_key = {(row.package_id, row.variant): row for row in rows.defer("records", "fits", "summary")}
    found = {}
    for release in releases:
        package = wanted.get(release.pk)
        if package is not None:
            variant = package.variant(release.variant)
            row = by_key.get((package.pk, variant.key if variant is not None else ""))
            row = row or by_key.get((package.pk, ""))
            if row is not None:
                found[release.pk] = row
    return found


# Keyed by the hash, too: what is built again has another one.


@lru_cache(maxsize=128)
def _calibration(pk: int, sha256: str) -> Calibration:
    return Calibration.of(PackageCalibration.objects.values_list("fits", flat=True).get(pk=pk))


@lru_cache(maxsize=16)
def records_of(pk: int, sha256: str) -> tuple[DocumentRecord, ...]:
    """The records of a calibration."""
    rows = PackageCalibration.objects.values_list("records", flat=True).get(pk=pk)
    return tuple(DocumentRecord.of_json(row) for row in rows)


@lru_cache(maxsize=128)
def limit_points(pk: int, sha256: str, unit: str) -> tuple[LimitPoint, ...]:
    """What each limit achieves, as it was computed when the package was built."""
    summary = PackageCalibration.objects.values_list("summary", flat=True).get(pk=pk)
    return tuple(LimitPoint(**row) for row in summary["limits"][unit])


def chosen_limit(pk: int, sha256: str, budget: Budget) -> LimitPoint | None:
    """The limit that keeps a budget."""
    return choose(limit_points(pk, sha256, budget.unit), budget)

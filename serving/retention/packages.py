"""Old packages: their files are deleted once nothing needs them. Their rows stay, as versions and events name them.

What stays: packages of the versions that serve, of the one before (*Roll back*), of replicas that are still there, of
approvals that are in force, and the newest ones of each project.
"""

import logging
import shutil
from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from labeling.models import Project
from serving.deployments.queries import approved_reports
from serving.deployments.services import previous_stable
from serving.models import Deployment, Package, Release, Replica
from serving.packages.exchange import place_of, remove
from serving.packages.services import folder_key
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from training.models import ModelVersion

logger = logging.getLogger(__name__)
#: files of a build that are next to its folder
_NEXT_TO = ("log", "serve.log", "parity.jsonl", "calibration.jsonl")


def delete_all(*, keep: int | None = None) -> int:
    """Deletes old packages of all projects; returns their number."""
    return sum(
        len(delete_old(project, keep=keep)) for project in Project.objects.filter(packages__isnull=False).distinct()
    )


def delete_old(project: Project, *, keep: int | None = None, dry_run: bool = False) -> list[Package]:
    """Deletes the files of packages that nothing needs; returns these packages.

    ``keep``: the number of the newest ones that stay; None: ``PACKAGES_KEPT``.
    """
    with transaction.atomic():
        # A deployment of one of them waits, and then builds another.
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        deployment = Deployment.objects.select_for_update(of=("self",)).filter(project=project).first()
        ready = Package.objects.filter(project=project, status=Status.DONE, deleted_at=None).exclude(sha256="")
        newest = list(ready.order_by("-number").values_list("pk", flat=True))
        needed = {*newest[: settings.PACKAGES_KEPT if keep is None else keep], *_needed(project, deployment)}
        old = list(ready.exclude(pk__in=needed).select_related("project").order_by("number"))
        if dry_run:
            return old
        for package in old:
            package.deleted_at = timezone.now()
            package.save(update_fields=["deleted_at"])
            details = {"sha256": package.sha256, "bytes": package.size}
            audit_services.record(project=project, user=None, action="deleted", about=str(package), details=details)
    # Also those of a pass that was killed here.
    for package in Package.objects.filter(project=project, deleted_at__isnull=False).exclude(folder_key=""):
        _remove_files(package)
    return old


def file_keys(project: Project) -> Iterable[str]:
    """The folders of a project's packages, for its quota."""
    for package in Package.objects.filter(project=project).exclude(folder_key=""):
        yield package.folder_key


def need_of_weights(version: ModelVersion) -> str:
    """The package that is made of the weights of a model version; "" without one."""
    package = Package.objects.filter(eval_run__model_version=version, deleted_at=None).order_by("number").first()
    return "" if package is None else str(package)


def _needed(project: Project, deployment: Deployment | None) -> Iterable[int]:
    releases: set[Release | None] = set()
    if deployment is not None:
        releases |= {deployment.stable, deployment.candidate, previous_stable(deployment)}
    yield from (release.package_id for release in releases if release is not None and release.package_id is not None)
    yield from Replica.objects.filter(release__project=project).values_list("release__package_id", flat=True)
    for report in approved_reports(project):
        release = Release.objects.filter(report=report, package__deleted_at=None).order_by("-number").first()
        if release is not None and release.package_id is not None:
            yield release.package_id
            continue
        packages = Package.objects.filter(eval_run=report.eval_run_id, status=Status.DONE, deleted_at=None)
        yield from packages.order_by("-number").values_list("pk", flat=True)[:1]


def _remove_files(package: Package) -> None:
    key = folder_key(package)
    shutil.rmtree(local_path(package.folder_key), ignore_errors=True)
    for name in _NEXT_TO:
        local_path(f"{key}.{name}").unlink(missing_ok=True)
    if settings.PACKAGE_STORE:
        try:
            remove(place_of(package.project.slug, package.number))
        except Refused as refused:
            logger.warning("%s stays in the package store: %s", package, refused.message)
    package.folder_key = ""
    package.save(update_fields=["folder_key"])

"""Deletes the weights of model versions. Their rows stay, with metrics, hashes and evaluations."""

import shutil

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.hooks import Hook, note_audit
from slmstudio.runs.models import ACTIVE
from slmstudio.storage.artifacts import local_path
from training.models import ModelExport, ModelVersion

#: a model version -> what needs its weights, such as "gate report 3"; "" for nothing
weights_needed: Hook[[ModelVersion], str] = Hook()


@transaction.atomic
def delete_weights(*, version: ModelVersion, user: User | None, reason: str = "") -> int:
    """Deletes the files of a model version after the transaction; returns their bytes, 0 where that is done already.

    Raises:
        Refused: something needs them; nothing is deleted then.
    """
    require(version.project, user, Action.RUN)
    rows = ModelVersion.objects.select_for_update(of=("self",)).select_related("project")
    locked = rows.get(pk=version.pk)
    if locked.weights_deleted_at is not None:
        return 0
    if needed := _need(locked):
        raise Refused(f"The weights of {locked} are needed by {needed}.", field="version", code="weights_needed")
    size, keys = locked.size_bytes, [key for key in (locked.folder_key, locked.adapter_key) if key]
    locked.weights_deleted_at = timezone.now()
    locked.save(update_fields=["weights_deleted_at"])
    details = {"sha256": locked.sha256, "bytes": size, "reason": reason}
    note_audit(project=locked.project, user=user, action="deleted", about=f"weights of {locked}", details=details)
    transaction.on_commit(lambda: _remove(keys), robust=True)
    return size


def _need(version: ModelVersion) -> str:
    """What needs the weights of a version; "" for nothing."""
    export = ModelExport.objects.filter(model_version=version, status__in=ACTIVE).first()
    if export is not None:
        return f"the export {export.get_kind_display()}"
    return next(filter(None, weights_needed.call(version)), "")


def _remove(keys: list[str]) -> None:
    for key in keys:
        shutil.rmtree(local_path(key), ignore_errors=True)

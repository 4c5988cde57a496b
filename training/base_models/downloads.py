"""Downloads and preparation of base models in the background, on request."""

from django.contrib.auth.models import User
from django.db import transaction

from slmstudio.access import TABLE, Action
from slmstudio.accounts.global_permissions import may_download_models, permission_granter
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.storage.installation import PROGRAM
from slmstudio.web import outbound
from training.models import BaseModel, ModelDownload


def can_view_models(user: User) -> bool:
    """Whether a user can see and prepare base models: engineers and owners of any project, and superusers."""
    return bool(user.is_superuser) or user.memberships.filter(role__in=TABLE[Action.RUN]).exists()


def no_permission_message() -> str:
    """The message for an account without permission to download models."""
    return f"You do not have permission to download models. {permission_granter().capitalize()} can grant it."


def download_required(base_model: BaseModel) -> Refused:
    """The error for a model that is not on this machine: downloads start on request only."""
    return Refused(
        f"{base_model} is not on this machine. Download it on the Base models page, or run {PROGRAM} models download "
        f"{base_model.slug}.",
        field="base_model",
        code="download_required",
    )


def download_of(base_model: BaseModel) -> ModelDownload | None:
    """The latest download of a base model, or None."""
    return ModelDownload.objects.filter(base_model=base_model).first()


@transaction.atomic
def request_download(*, base_model: BaseModel, user: User) -> ModelDownload:
    """Queues the preparation of a base model; one that is queued or running is returned as is.

    Raises:
        Refused: the model must be downloaded, and the account has no permission for that, or OUTBOUND_HOSTS does not
            list the hub.
    """
    if base_model.source == BaseModel.Source.HUB and not base_model.is_local:
        if not may_download_models(user):
            raise Refused(no_permission_message(), field="base_model", code="no_permission")
        outbound.require_hub()
    ModelDownload.objects.bulk_create(
        [ModelDownload(base_model=base_model, created_by=user, status=Status.CANCELLED)], ignore_conflicts=True
    )
    download: ModelDownload = ModelDownload.objects.select_for_update(of=("self",)).get(base_model=base_model)
    if download.status not in ACTIVE:
        download.requeue_by(user)
    return download


def cancel_download(base_model: BaseModel) -> None:
    """Cancels a download that is queued or running; nothing happens without one."""
    if (download := download_of(base_model)) is not None:
        download.cancel()

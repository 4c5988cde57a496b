"""Having base models prepared in the background, from a page."""

from django.contrib.auth.models import User
from django.db import transaction

from slmstudio.access import TABLE, Action
from slmstudio.accounts.permissions import may_download_models, permission_granter
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from training.models import BaseModel, ModelPull


def may_see_models(user: User) -> bool:
    """Whether somebody may look at base models and add some: engineers and owners of any project, and the staff."""
    return bool(user.is_superuser) or user.memberships.filter(role__in=TABLE[Action.RUN]).exists()


@transaction.atomic
def pull(*, base_model: BaseModel, user: User) -> ModelPull:
    """Queues the preparation of a base model. One that waits or runs already is given back as it is.

    Raises:
        Refused: it would be downloaded, and the account may not have that done.
    """
    if base_model.source == BaseModel.Source.HUB and not base_model.here and not may_download_models(user):
        raise Refused(
            f"Your account may not have models fetched; {permission_granter()} can allow it.", field="base_model"
        )
    ModelPull.objects.bulk_create(
        [ModelPull(base_model=base_model, created_by=user, status=Status.CANCELLED)], ignore_conflicts=True
    )
    found = ModelPull.objects.select_for_update(of=("self",)).get(base_model=base_model)
    if found.status in ACTIVE:
        return found
    found.requeue_by(user)
    return found

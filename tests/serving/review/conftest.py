"""A deployment whose answers are reviewed."""

from typing import TYPE_CHECKING

from tests.shared_rows import shared_fixture

if TYPE_CHECKING:
    from serving.models import Deployment
    from tests.evaluation.factories import World


@shared_fixture
def deployment(world: "World") -> "Deployment":
    """A stable version that is an external model."""
    from tests.serving.review.rows import deployed

    return deployed(world)

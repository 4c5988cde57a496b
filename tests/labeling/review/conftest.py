"""The desk that tests of reviews start from."""

from typing import TYPE_CHECKING

from tests.shared_rows import shared_fixture

if TYPE_CHECKING:
    from tests.labeling.label_desk import Desk


@shared_fixture
def desk(db: None) -> "Desk":
    """A project without documents whose labels need a review."""
    # Here, not above: this file is read before Django is set up.
    from tests.labeling.work_desk import review_desk

    return review_desk()

"""The desk that most tests of the labeling pages start from."""

from typing import TYPE_CHECKING

from tests.shared_rows import shared_fixture

if TYPE_CHECKING:
    from tests.labeling.desk import Desk


@shared_fixture
def desk(db: None) -> "Desk":
    """A project without documents, with one person per role."""
    # Here, not above: this file is read before Django is set up.
    from tests.labeling.desk import make_desk

    return make_desk()

"""The desk that tests of the labeling screen start from."""

from typing import TYPE_CHECKING

from tests.shared_rows import shared_fixture

if TYPE_CHECKING:
    from tests.labeling.label_desk import Desk


@shared_fixture
def desk(db: None) -> "Desk":
    """A project without documents, with two annotators."""
    # Here, not above: this file is read before Django is set up.
    from tests.labeling.label_desk import make_desk

    return make_desk()

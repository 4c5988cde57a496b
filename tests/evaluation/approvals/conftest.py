"""A report of which not every gate passes."""

from typing import TYPE_CHECKING

from tests.shared_rows import shared_fixture

if TYPE_CHECKING:
    from evaluation.models import GateReport
    from tests.evaluation.factories import World


@shared_fixture
def report(world: "World") -> "GateReport":
    from evaluation.gates.services import create_report
    from tests.evaluation.factories import evaluated, pretend

    made = create_report(eval_run=evaluated(world, pretend(2, spoil=0.05)), baseline=None, user=world.engineer)
    assert len([row for row in made.verdicts if row["status"] != "PASS"]) > 1
    return made

"""The world of the evaluation tests: a project with a base model, a fine-tuned one and their people; and deployments of
that model."""

import inspect
from typing import TYPE_CHECKING

import pytest

from tests.evaluation.conftest import small_world as small_world
from tests.evaluation.conftest import world as world
from tests.serving import event_loop
from tests.shared_rows import shared_fixture

if TYPE_CHECKING:
    from evaluation.models import GateReport
    from serving.models import Deployment
    from tests.evaluation.factories import World


@shared_fixture
def report(world: "World") -> "GateReport":
    """An approved report."""
    from tests.serving.factories import approved_report

    return approved_report(world)


@shared_fixture
def deployment(world: "World") -> "Deployment":
    """A stable version that answers."""
    from tests.serving.rollouts.rows import deployed

    return deployed(world)


@shared_fixture
def canary(world: "World", deployment: "Deployment") -> "Deployment":
    """A stable version, and an approved candidate that gets a quarter of the requests."""
    from tests.serving.rollouts.rows import add_candidate

    return add_candidate(world, share=0.25)


@shared_fixture
def shadow(world: "World", deployment: "Deployment") -> "Deployment":
    """A stable version, and an approved candidate that gets copies of the requests."""
    from tests.serving.rollouts.rows import add_candidate

    return add_candidate(world, stage="shadow")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs tests that are coroutines."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    event_loop.run(pyfuncitem.obj(**arguments))
    return True

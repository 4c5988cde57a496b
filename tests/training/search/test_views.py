"""The pages of a search, and its form."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from labeling.models import Study
from labeling.studies import services
from slmstudio.access import Role
from slmstudio.runs.models import Status
from tests.training.search.fake_runs import end, evaluate
from training.models import LengthReport, TrainingRun

Login = Callable[[str], Client]
Start = Callable[..., Study]


@pytest.fixture
def search(start_search: Start) -> Study:
    """A search with a complete trial, a pruned one, and one that runs."""
    search = start_search()
    for number, values, status in ((1, (0.4, 0.6, 0.7, 0.8), Status.DONE), (2, (0.3,), Status.RUNNING)):
        run = TrainingRun.objects.get(number=number)
        evaluate(run, *values)
        if status == Status.DONE:
            end(run, status)
        services.advance(search.pk)
    end(TrainingRun.objects.get(number=2), Status.CANCELLED)
    services.advance(search.pk)
    search.refresh_from_db()
    return search


def test_members_read_and_engineers_use_a_trial(search: Study, login: Login) -> None:
    for role in (Role.ANNOTATOR, Role.ENGINEER):
        client = login(role)
        page = client.get(search.get_absolute_url())
        assert page.context["best"].number == 1
        assert page.context["counts"] == {"running": 1, "complete": 1, "pruned": 1, "failed": 0, "cancelled": 0}
        can_run = role == Role.ENGINEER
        assert ("?from=1" in page.content.decode()) == can_run
        assert ('id="cancel-study"' in page.content.decode()) == can_run
    trial = client.get(reverse("training_run", args=["receipts", 2])).context["trial"]
    assert (trial.number, trial.state) == (2, "pruned")
    form = client.get("/p/receipts/training/new/?from=1").context["form"]
    parameters = search.trials[0]["parameters"]
    assert float(form["learning_rate"].value()) == parameters["learning_rate"]
    assert int(form["lora_r"].value()) == parameters["lora_r"]


def test_form_starts_a_search(search_spec: dict[str, Any], login: Login, queues: None) -> None:
    client = login("engineer")
    address = reverse("study_new", args=["receipts", "search"])
    form = client.get(address).context["form"]
    values = {name: form[name].value() for name in form.fields}
    answer = client.post(address, {**values, "lora_r": "8, x"})
    assert "lora_r" in answer.context["form"].errors
    assert client.post(address, values).status_code == 302
    assert Study.objects.get().spec["lora_r"] == [8, 16, 32]
    LengthReport.objects.all().delete()
    answer = client.post(address, values)
    assert "dataset" in answer.context["form"].errors
    assert LengthReport.objects.get().status == Status.QUEUED, "they are requested"

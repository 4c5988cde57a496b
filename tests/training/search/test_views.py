"""Pages and REST of searches."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from slmstudio.access import Role
from slmstudio.runs.models import Status
from tests.labeling.api_client import api_of
from tests.training.search.fake_runs import end, evaluate
from training.models import LengthReport, Search, Trial
from training.search import services
from training.search.spec import SearchSpec

URL = "/p/receipts/training/searches/"
Login = Callable[[str], Client]
Start = Callable[..., Search]


@pytest.fixture
def search(start_search: Start) -> Search:
    """A search with a complete trial, a pruned one, and one that runs."""
    found = start_search()
    for number, values, status in ((1, (0.4, 0.6, 0.7, 0.8), Status.DONE), (2, (0.3,), Status.RUNNING)):
        run = found.trials.get(number=number).run
        assert run is not None
        evaluate(run, *values)
        if status == Status.DONE:
            end(run, status)
        services.advance(found.pk)
    run = found.trials.get(number=2).run
    assert run is not None
    end(run, Status.CANCELLED)
    services.advance(found.pk)
    return found


@pytest.mark.parametrize("role", Role.values)
def test_members_read_and_engineers_use_a_trial(search: Search, login: Login, role: str) -> None:
    client = login(role)
    assert client.get(URL).status_code == 200
    page = client.get(f"{URL}1/")
    assert page.context["best"].number == 1
    assert page.context["counts"] == {"running": 1, "complete": 1, "pruned": 1, "failed": 0, "cancelled": 0}
    can_run = role in (Role.ENGINEER, Role.OWNER)
    assert ("?from=1" in page.content.decode()) == can_run
    assert ('id="stop-search"' in page.content.decode()) == can_run


def test_search_without_a_result_has_pages(start_search: Start, login: Login) -> None:
    search = start_search()
    Trial.objects.create(
        search=search, number=2, state="failed", error="It needs 90 GB.", parameters={"method": "full"}
    )
    client = login("reviewer")
    assert client.get(URL).status_code == 200
    page = client.get(f"{URL}1/")
    assert page.context["best"] is None
    assert "90 GB" in page.content.decode()


def test_use_this_fills_in_the_form_of_a_new_run(search: Search, login: Login) -> None:
    form = login("engineer").get("/p/receipts/training/new/?from=1").context["form"]
    parameters = search.trials.get(number=1).parameters
    assert float(form["learning_rate"].value()) == parameters["learning_rate"]
    assert int(form["lora_r"].value()) == parameters["lora_r"]


def test_page_of_a_live_search_refreshes_and_orders(search: Search, login: Login) -> None:
    client = login("reviewer")
    part = client.get(f"{URL}1/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "every 3s" in part
    shown = client.get(f"{URL}1/?order=score").context["trials"]
    assert [trial.number for trial, _ in shown] == [1, 2, 3]


def test_run_names_its_search(search: Search, login: Login) -> None:
    page = login("reviewer").get("/p/receipts/training/2/").content.decode()
    assert f'href="{search.get_absolute_url()}"' in page


def test_query_count_does_not_grow_with_trials(
    search: Search, login: Login, django_assert_max_num_queries: Any
) -> None:
    client = login("reviewer")
    for address in (URL, f"{URL}1/"):
        client.get(address)
        with django_assert_max_num_queries(12):
            client.get(address)


def test_form_starts_a_search(search_spec: SearchSpec, login: Login, queues: None) -> None:
    client = login("engineer")
    form = client.get(f"{URL}new/").context["form"]
    values = {name: form[name].value() for name in form.fields}
    answer = client.post(f"{URL}new/", {**values, "epochs_low": "1", "epochs_high": "2", "hours": "0.5"})
    assert answer.status_code == 302
    spec = services.spec_of(Search.objects.get())
    assert (spec.hours, spec.space.epochs, spec.space.lora_r, spec.seconds) == (0.5, (1, 2), (8, 16, 32), 120)


def test_form_names_what_is_wrong(search_spec: SearchSpec, login: Login) -> None:
    client = login("engineer")
    form = client.get(f"{URL}new/").context["form"]
    values = {name: form[name].value() for name in form.fields}
    for changes, field in (
        ({"learning_rate_low": "0.01", "learning_rate_high": "0.001"}, "learning_rate_high"),
        ({"hours": "0"}, "hours"),
        ({"lora_r": "8, x"}, "lora_r"),
        ({"method": []}, "method"),
    ):
        answer = client.post(f"{URL}new/", {**values, **changes})
        assert answer.status_code == 422
        assert field in answer.context["form"].errors
    assert not Search.objects.exists()


def test_missing_lengths_are_requested(search_spec: SearchSpec, login: Login, queues: None) -> None:
    LengthReport.objects.all().delete()
    client = login("engineer")
    form = client.get(f"{URL}new/").context["form"]
    answer = client.post(f"{URL}new/", {name: form[name].value() for name in form.fields})
    assert "dataset" in answer.context["form"].errors
    assert LengthReport.objects.get().status == Status.QUEUED


def test_yaml_of_a_search_fills_in_the_form(search: Search, login: Login) -> None:
    client = login("engineer")
    text = client.get(f"{URL}1/search.yaml").content
    assert SearchSpec.from_yaml(text.decode()) == services.spec_of(search)
    page = client.post(f"{URL}new/", {"spec": SimpleUploadedFile("search.yaml", text)})
    assert page.context["form"]["lora_r"].value() == "4, 8"
    assert client.post(f"{URL}new/", {"spec": SimpleUploadedFile("search.yaml", b"hours: x")}).status_code == 422
    assert Search.objects.count() == 1


def test_stop_button(search: Search, login: Login) -> None:
    assert login("reviewer").post(f"{URL}1/stop/").status_code == 403
    login("engineer").post(f"{URL}1/stop/")
    search.refresh_from_db()
    assert search.status == Status.CANCELLED  # its only live run was still queued


def test_rest(search_spec: SearchSpec, people: dict[str, Any], queues: None) -> None:
    from labeling.models import Project

    project = Project.objects.get()
    api = api_of(project, people["engineer"], "read", "train")
    body = {"base_model": search_spec.base_model, "hours": 0.5, "trials": 2, "space": {"epochs": [1, 2], "lora_r": [4]}}
    started = api.post("searches", body)
    assert started.status == 202
    assert started.json["trials"][0]["parameters"]["lora_r"] == 4
    assert api.get("searches/1").json["status"] == "running"
    assert [row["number"] for row in api.get("searches").json["items"]] == [1]
    assert api.post("searches/1/stop", {}).json["status"] == "cancelled"
    wrong = api.post("searches", {**body, "space": {"epochs": [3, 1]}})
    assert (wrong.status, wrong.json["errors"][0]["field"]) == (422, "space.epochs")
    assert api_of(project, people["engineer"], "read").post("searches", body).status == 403

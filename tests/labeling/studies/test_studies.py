"""What all studies share, on two kinds that only count: job, cancelling, resuming, lost workers, pages, REST, roles."""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pydantic import Field, model_validator

from labeling.models import Project, Study
from labeling.studies import kinds, services
from labeling.studies.kinds import Stopped, StudyKind, StudySpec
from slmstudio.access import Action, Forbidden, Role
from slmstudio.errors import Refused
from slmstudio.runs import supervisor
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import requeue_interrupted
from tests.labeling.api_client import api_of
from tests.labeling.message_desk import make_project, member
from tests.shared_rows import shared_fixture


class CountSpec(StudySpec):
    """Counts ``times``, in steps of each of ``steps``."""

    times: int = Field(3, ge=1, le=9, title="How often", description="At most nine.")
    limit: float | None = Field(None, gt=0, title="Limit")
    steps: tuple[int, ...] = Field((1,), min_length=1, title="Steps")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 7 in self.steps:
            raise ValueError("Not by seven.")
        return self


class Counter(StudyKind[CountSpec]):
    """A study with a job."""

    key = "counter"
    title = "Count"
    about = "Counts."
    spec = CountSpec
    template = "labeling/studies/counter.html"
    action = Action.CURATE
    #: called before a trial
    before: ClassVar[Any] = staticmethod(lambda study, number: None)

    def defaults(self, project: Project, chosen: Any) -> dict[str, Any]:
        return {"times": 2} if str(chosen.get("limit")) == "2" else {}

    def plan(self, study: Study, spec: CountSpec) -> None:
        if spec.times == 9:
            raise Refused("Nine is too often.", field="times")
        study.progress_total = spec.times

    def steps(self, study: Study, spec: CountSpec) -> Iterator[dict[str, Any]]:
        for number in range(len(study.trials) + 1, spec.times + 1):
            type(self).before(study, number)
            yield {"number": number}

    def conclude(self, study: Study, spec: CountSpec) -> dict[str, Any]:
        return {"summary": f"counted to {len(study.trials)}"}


class Composed(Counter):
    """A study of other runs, which end when ``ended`` says so."""

    key = "composed"
    title = "Composed count"
    ended: ClassVar[bool] = False
    template = "labeling/studies/counter.html"

    def is_composed(self, spec: CountSpec) -> bool:
        return True

    def advance(self, study: Study, spec: CountSpec) -> None:
        if study.cancel_requested:
            study.cancelled()
        elif type(self).ended:
            study.finish(trials=[{"number": 1}], result={"summary": "done"})


COUNTER, COMPOSED = Counter(), Composed()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Any) -> None:
    for kind in (COUNTER, COMPOSED):
        monkeypatch.setitem(kinds._kinds, kind.key, kind)
    folder = tmp_path / "labeling" / "studies"
    folder.mkdir(parents=True)
    (folder / "counter.html").write_text("{{ study.result.summary }}")
    options = {**settings.TEMPLATES[0], "DIRS": [*settings.TEMPLATES[0]["DIRS"], tmp_path]}
    settings.TEMPLATES = [options, *settings.TEMPLATES[1:]]


@shared_fixture
def project(db: None) -> Project:
    return make_project()


def started(project: Project, kind: Any = COUNTER, **spec: Any) -> Study:
    return services.start(project=project, user=member(project, Role.ENGINEER), kind=kind, spec=spec)


def test_job_measures_trials_and_concludes(project: Project) -> None:
    first, second = started(project, times=2), started(project)
    assert (first.number, second.number, started(project, COMPOSED).number) == (1, 2, 1)
    services.run_study(first.pk)
    first.refresh_from_db()
    assert (first.status, first.trials) == (Status.DONE, [{"number": 1}, {"number": 2}])
    assert (first.result["summary"], first.progress_done) == ("counted to 2", 2)
    services.run_study(first.pk)  # delivered twice
    first.refresh_from_db()
    assert (first.status, first.facts["attempts"]) == (Status.DONE, 1)


@pytest.mark.parametrize("error", [Refused("Nothing to count."), FileNotFoundError("The file is gone."), ValueError()])
def test_errors_fail_a_study_which_is_resumed_with_its_trials(
    project: Project, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    study = started(project)

    def fails(study: Study, number: int) -> None:
        if number == 2:
            raise error

    monkeypatch.setattr(Counter, "before", staticmethod(fails))
    services.run_study(study.pk)
    study.refresh_from_db()
    assert (study.status, study.trials) == (Status.FAILED, [{"number": 1}])
    assert str(error) in study.error
    asked: list[int] = []
    monkeypatch.setattr(Counter, "before", staticmethod(lambda study, number: asked.append(number)))
    services.resume(study=study, user=member(project, Role.OWNER))
    services.run_study(study.pk)
    study.refresh_from_db()
    assert (study.status, asked, study.error) == (Status.DONE, [2, 3], "")
    with pytest.raises(Refused) as refused:
        services.resume(study=study, user=member(project, Role.OWNER))
    assert refused.value.code == "not_ended"


def test_cancelled_study_keeps_its_trials(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    engineer = member(project, Role.ENGINEER)
    queued, running = started(project), started(project)
    assert services.cancel(study=queued, user=engineer)
    queued.refresh_from_db()
    assert queued.status == Status.CANCELLED

    def cancels(study: Study, number: int) -> None:
        if number == 2:
            services.cancel(study=Study.objects.get(pk=study.pk), user=engineer)

    monkeypatch.setattr(Counter, "before", staticmethod(cancels))
    services.run_study(running.pk)
    running.refresh_from_db()
    assert (running.status, len(running.trials), running.result) == (Status.CANCELLED, 2, {})
    assert not services.cancel(study=running, user=engineer)


@pytest.mark.parametrize("within", [False, True])
def test_stopped_worker_returns_the_study_to_the_queue(
    project: Project, monkeypatch: pytest.MonkeyPatch, within: bool
) -> None:
    study = started(project)

    def stops(study: Study, number: int) -> None:
        if number == 2:
            supervisor.request_stop()
            if within:
                raise Stopped

    monkeypatch.setattr(Counter, "before", staticmethod(stops))
    try:
        services.run_study(study.pk)
    finally:
        supervisor._stop_requested.clear()
    study.refresh_from_db()
    assert (study.status, len(study.trials), study.attempts_since_restart) == (Status.QUEUED, 1 if within else 2, 0)
    monkeypatch.setattr(Counter, "before", staticmethod(lambda study, number: None))
    services.run_study(study.pk)
    study.refresh_from_db()
    assert (study.status, len(study.trials)) == (Status.DONE, 3)


def test_lost_worker_loses_no_trial(project: Project, queues: None, monkeypatch: pytest.MonkeyPatch) -> None:
    study = started(project)

    def killed(study: Study, number: int) -> None:
        if number == 3:
            raise SystemExit

    monkeypatch.setattr(Counter, "before", staticmethod(killed))
    with pytest.raises(SystemExit):
        services.run_study(study.pk)
    study.refresh_from_db()
    assert study.status == Status.RUNNING
    assert study in requeue_interrupted()
    monkeypatch.setattr(Counter, "before", staticmethod(lambda study, number: None))
    services.run_study(study.pk)
    study.refresh_from_db()
    assert (study.status, [trial["number"] for trial in study.trials]) == (Status.DONE, [1, 2, 3])


def test_composed_study_is_cancelled_resumed_and_advanced_periodically(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, engineer = started(project, COMPOSED), member(project, Role.ENGINEER)
    assert services.cancel(study=study, user=engineer)
    assert study.status == Status.CANCELLED
    services.resume(study=study, user=engineer)
    study.refresh_from_db()
    assert (study.status, study.is_composed, study.cancel_requested) == (Status.RUNNING, True, False)
    services.advance_all()
    study.refresh_from_db()
    assert study.status == Status.RUNNING
    monkeypatch.setattr(Composed, "ended", True)
    services.advance_all()
    study.refresh_from_db()
    assert (study.status, study.result["summary"]) == (Status.DONE, "done")


def test_impossible_studies_are_refused(project: Project) -> None:
    impossible: list[tuple[dict[str, Any], str]] = [
        ({"times": 0}, "times"),
        ({"times": 9}, "times"),
        ({"steps": [7]}, "form"),
        ({"steps": []}, "steps"),
        ({"other": 1}, "other"),
    ]
    for spec, field in impossible:
        with pytest.raises(Refused) as refused:
            started(project, **spec)
        assert field in refused.value.errors
    assert not Study.objects.exists()


def test_role_is_that_of_the_kind(project: Project, client: Client) -> None:
    study = started(project)
    reviewer = member(project, Role.ANNOTATOR)
    for act in (
        lambda: services.start(project=project, user=reviewer, kind=COUNTER, spec={}),
        lambda: services.cancel(study=study, user=reviewer),
        lambda: services.resume(study=study, user=reviewer),
    ):
        with pytest.raises(Forbidden):
            act()
    client.force_login(reviewer)
    assert client.get(reverse("study", args=["messages", "counter", 1])).status_code == 200
    assert client.get(reverse("study_new", args=["messages", "counter"])).status_code == 403
    for page in ("study_cancel", "study_resume"):
        assert client.post(reverse(page, args=["messages", "counter", 1])).status_code == 403
    study.refresh_from_db()
    assert study.status == Status.QUEUED


def test_pages(project: Project, client: Client) -> None:
    client.force_login(member(project, Role.ENGINEER))
    address = reverse("study_new", args=["messages", "counter"])
    form = client.get(address).context["form"]
    assert (form["times"].value(), form["steps"].value(), form["limit"].value()) == ("3", "1", "")
    invalid = client.post(address, {"times": "2", "steps": "7"})
    assert (invalid.status_code, invalid.context["form"].non_field_errors()) == (422, ["Not by seven."])
    assert "times" in client.post(address, {"times": "12", "steps": "1"}).context["form"].errors
    assert "times" in client.post(address, {"times": "9", "steps": "1"}).context["form"].errors
    answer = client.post(address, {"times": "2", "steps": "1, 2", "name": "Twice"})
    study = Study.objects.get()
    assert answer["Location"] == study.get_absolute_url()
    assert study.spec == {"times": 2, "limit": None, "steps": [1, 2]}
    services.run_study(study.pk)
    assert b"counted to 2" in client.get(study.get_absolute_url()).content
    assert client.get(study.get_absolute_url(), headers={"HX-Request": "true"})["HX-Refresh"] == "true"
    assert client.get(f"{address}?from=1").context["form"]["steps"].value() == "1, 2"
    assert client.get(reverse("study_new", args=["messages", "other"])).status_code == 404


def test_list_is_by_kind(project: Project, client: Client) -> None:
    own, composed = started(project), started(project, COMPOSED)
    automatic = services.start(project=project, user=None, kind=COUNTER, spec={})
    client.force_login(member(project, Role.ANNOTATOR))
    address = reverse("studies", args=["messages"])
    assert [study for study, _ in client.get(address).context["rows"]] == [composed, own]
    assert [study for study, _ in client.get(f"{address}?kind=counter").context["rows"]] == [automatic, own]


def test_yaml_of_a_study_fills_in_the_form(project: Project, client: Client) -> None:
    started(project, times=4, steps=[2, 5])
    client.force_login(member(project, Role.ENGINEER))
    text = client.get(reverse("study_spec", args=["messages", "counter", 1])).content
    address = reverse("study_new", args=["messages", "counter"])
    form = client.post(address, {"spec": SimpleUploadedFile("study.yaml", text)}).context["form"]
    assert (form["times"].value(), form["steps"].value()) == ("4", "2, 5")
    for wrong in (b"times: x", b"- 1", b"\x00", b"times: [" * 2000, b"a: &a [1]\nsteps: *a", b"x" * 70_000):
        assert client.post(address, {"spec": SimpleUploadedFile("study.yaml", wrong)}).status_code == 422
    assert Study.objects.count() == 1


def test_values_that_are_still_defaults_follow_what_is_chosen(project: Project, client: Client) -> None:
    client.force_login(member(project, Role.ENGINEER))
    address = reverse("study_new", args=["messages", "counter"])
    sent = {"limit": "2", "times": "3", "steps": "4", "defaults": '{"times": "3"}'}
    form = client.get(address, sent).context["form"]
    assert (form["times"].value(), form["steps"].value(), form["limit"].value()) == ("2", "4", "2")
    form = client.get(address, {**sent, "times": "5"}).context["form"]
    assert form["times"].value() == "5"


def test_rest(project: Project) -> None:
    api = api_of(project, member(project, Role.ENGINEER), "read", "train")
    answer = api.post("studies", {"kind": "counter", "spec": {"times": 2}})
    assert (answer.status, answer.json["number"], answer.json["spec"]["times"]) == (202, 1, 2)
    assert [row["number"] for row in api.get("studies?kind=counter").json["items"]] == [1]
    assert api.get("studies?kind=composed").json["items"] == []
    assert api.post("studies/counter/1/cancel").json["status"] == "cancelled"
    assert api.post("studies/counter/1/resume").json["status"] == "queued"
    assert api.post("studies/counter/1/resume").status == 409
    services.run_study(Study.objects.get().pk)
    assert api.get("studies/counter/1").json["result"] == {"summary": "counted to 2"}
    wrong = api.post("studies", {"kind": "counter", "spec": {"times": 0}})
    assert (wrong.status, wrong.json["errors"][0]["field"]) == (422, "times")
    assert api.post("studies", {"kind": "other"}).status == 422
    assert api_of(project, member(project, Role.ENGINEER), "read").post("studies", {"kind": "counter"}).status == 403


def test_former_pages_lead_to_studies(project: Project, client: Client) -> None:
    client.force_login(member(project, Role.ANNOTATOR))
    for former, now in (
        ("training/searches/", "studies/?kind=search"),
        ("training/searches/3/", "studies/search/3/"),
        ("benchmark/prompts/new/", "studies/prompt/new/"),
        ("evaluation/learning-curves/2/", "studies/learning-curve/2/"),
        ("evaluation/label-checks/1/", "studies/label-check/1/"),
        ("label/order/", "studies/?kind=queue-order"),
    ):
        assert client.get(f"/p/messages/{former}")["Location"] == f"/p/messages/{now}"

"""Label checks: which predictions count, what is stored, and how suspects become challenges."""

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from evaluation.label_issues import label_checks
from evaluation.label_issues.label_checks import LABEL_CHECK
from evaluation.models import LabelChallenge, SuspectLabel
from labeling.annotation import challenged_labels as label_challenges
from labeling.annotation import predictions
from labeling.models import Document, Gold, Project, Study
from labeling.studies import services
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from tests.evaluation.factories import World, evaluated
from tests.labeling.message_desk import WORDS, add_messages, make_project, member
from tests.shared_rows import shared_fixture


@shared_fixture
def messages(db: None) -> Project:
    """Thirty labeled messages, of which message 0 has the wrong label."""
    project = make_project()
    add_messages(project, 30, labeled=True, wrong=(0,))
    return project


def checked(project: Project, source: str) -> Study:
    spec = {"source": source}
    run = services.start(project=project, user=member(project, Role.OWNER), kind=LABEL_CHECK, spec=spec)
    services.run_study(run.pk)
    run.refresh_from_db()
    return run


def test_the_classifier_finds_the_wrong_label_outside_the_hold_out(messages: Project) -> None:
    run = checked(messages, "classifier")
    assert (run.status, run.result["documents"]) == (Status.DONE, 30)
    first = SuspectLabel.objects.get(run=run, place=1)
    assert (first.document.external_id, first.gold, first.predicted) == ("m00", "shipping", "billing")
    assert first.suggestion == {"queue": "billing"}
    Document.objects.filter(project=messages, external_id="m00").update(holdout=True)
    later = checked(messages, "classifier")
    assert later.result["documents"] == 29
    assert not SuspectLabel.objects.filter(run=later, document__external_id="m00").exists()


def test_suspects_are_sent_to_adjudication_once(messages: Project) -> None:
    run = checked(messages, "classifier")
    user = member(messages, Role.ENGINEER)
    assert label_checks.challenge_first(run=run, user=user, count=1) == (1, 0)
    assert label_checks.challenge_first(run=run, user=user, count=1) == (0, 1)
    challenge = LabelChallenge.objects.get()
    assert (challenge.field, challenge.suggestion) == ("queue", {"queue": "billing"})
    document = Document.objects.get(external_id="m00")
    challenged = label_challenges.challenge_for(document)
    assert challenged is not None
    assert (document.disputed, challenged.value, challenged.suggested_by) == (True, {"queue": "billing"}, "classifier")
    assert Gold.objects.get(document=document).revision.value == {"queue": "shipping"}


def test_pre_labels_of_labeled_documents_are_compared(messages: Project) -> None:
    documents = list(Document.objects.filter(project=messages).order_by("pk"))
    given = [
        predictions.PredictionInput(document.pk, dumps({"queue": [*WORDS][at % 2]}), {"queue": 0.9})
        for at, document in enumerate(documents)
    ]
    predictions.record(
        project=messages, schema_version=messages.schema_version, proposals=given, model="large", source="api"
    )
    run = checked(messages, "predictions")
    [suspect] = SuspectLabel.objects.filter(run=run)
    assert (suspect.document.external_id, suspect.model, suspect.probability) == ("m00", "large", 0.9)


def test_too_few_predictions_and_evaluations_on_other_splits_are_refused(world: World, messages: Project) -> None:
    assert checked(messages, "predictions").status == Status.FAILED
    run = evaluated(world, lambda row: {"raw": dumps({**row["gold"], "total_amount": Decimal("7.77")})})
    for project, source in ((messages, "evaluation-1"), (world.project, f"evaluation-{run.number}")):
        with pytest.raises(Refused) as refused:
            checked(project, source)
        assert refused.value.field == "source"


def test_pages(messages: Project, client: Client) -> None:
    client.force_login(member(messages, Role.ENGINEER))
    page = client.get(reverse("study_new", args=["messages", "label-check"]))
    assert [value for value, _ in page.context["form"].fields["source"].choices] == ["classifier", "predictions"]
    run = checked(messages, "classifier")
    page = client.get(run.get_absolute_url())
    assert page.context["rows"][0][0].document.external_id == "m00"
    client.post(reverse("suspects_challenge", args=["messages", run.number]), {"count": "1"})
    assert LabelChallenge.objects.open().count() == 1
    assert client.get(reverse("challenges", args=["messages"])).status_code == 200

"""The pages around doubted gold: the form of a doubt, the list, scoring again, look-alikes."""

from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from pytest_django.asserts import assertContains

from evaluation import panels
from evaluation.label_issues import corrections
from evaluation.models import EvalRun, LabelChallenge
from labeling.models import DatasetVersion, Document
from slmstudio.access import Action, project_for
from tests.evaluation.factories import World, evaluated
from tests.evaluation.gold_desk import decide, doubted, first_id, reviewer, says_total, scored_again
from tests.evaluation.label_issues.test_lookalikes import document, failed, failing_run, relative
from tests.shared_rows import shared_fixture

LIST = "/p/invoices/evaluation/challenges/"


@shared_fixture
def run(world: World) -> EvalRun:
    return evaluated(world, says_total(world, first_id(world), "7.77"))


def address(world: World, run: EvalRun) -> str:
    key = Document.objects.get(project=world.project, external_id=first_id(world)).pk
    return f"/p/invoices/evaluation/{run.number}/outputs/{key}/challenge/"


def test_the_form_offers_what_is_wrong_first_and_sends_it_on(world: World, run: EvalRun, engineer: Client) -> None:
    page = engineer.get(address(world, run))
    assert page.context["form"]["field"].value() == "total_amount"
    assertContains(page, "Four-eyes review is on")
    bad = engineer.post(address(world, run), {"field": "nothing", "reason": ""})
    assertContains(bad, "field-error", status_code=422)
    sent = engineer.post(address(world, run), {"field": "total_amount", "reason": "It says 7.77."})
    assert (sent.status_code, sent["Location"]) == (302, LIST)
    assert LabelChallenge.objects.get().reason == "It says 7.77."
    assertContains(engineer.get(LIST), "It says 7.77.")
    assertContains(engineer.get(address(world, run)), "already challenged this label")


def test_from_a_challenge_to_rescored_evaluations(world: World, run: EvalRun, engineer: Client) -> None:
    engineer.post(address(world, run), {"field": "total_amount", "reason": ""})
    held = Document.objects.get(project=world.project, external_id=first_id(world))
    decide(held, reviewer(world), total_amount=Decimal("7.77"))
    assertContains(engineer.get(LIST), "Freeze a new version with 1 correction<")
    assertContains(engineer.post(LIST + "freeze/", follow=True), "has 1 corrected label")
    assertContains(engineer.get(LIST), f'value="{run.number}"')
    sent = engineer.post(LIST + "rescore/", {"runs": [str(run.number)], "confirm_holdout": "yes"})
    made = EvalRun.objects.get(rescored_from=run)
    assert sent["Location"] == made.get_absolute_url()
    assertContains(engineer.post(LIST + "rescore/", {"runs": ["no", "9" * 30]}, follow=True), "Select the evaluations")
    again = f"{run.get_absolute_url()}rescore/"
    assertContains(engineer.post(again, {"dataset": "x"}, follow=True), "Select a dataset version")
    assertContains(engineer.post(again, {"dataset": "1"}, follow=True), "already")
    made.delete()
    assertContains(engineer.post(again, {"dataset": "2"}, follow=True), "Confirm the hold-out evaluation")
    sent = engineer.post(again, {"dataset": "2", "confirm_holdout": "yes"})
    assert sent["Location"] == EvalRun.objects.get(rescored_from=run).get_absolute_url()


def test_an_engineer_is_led_from_the_correction_to_the_scores(world: World, run: EvalRun) -> None:
    def step(user: User) -> Any:
        return panels.correction_step(project_for(user, "invoices", Action.READ), user)

    assert step(world.engineer) is None
    doubted(run, first_id(world), world.engineer)
    assert step(world.engineer) is None, "a reviewer comes first"
    held = Document.objects.get(project=world.project, external_id=first_id(world))
    decide(held, reviewer(world), total_amount=Decimal("7.77"))
    assert step(world.engineer).text == "1 corrected label is not in a dataset version yet."
    assert step(world.annotator) is None
    dataset = corrections.freeze(project=world.project, user=world.engineer)
    assert step(world.engineer).text == "1 evaluation has not been re-scored with the corrected labels of dataset v2."
    assert isinstance(dataset, DatasetVersion)
    scored_again(run, dataset, world.engineer)
    assert step(world.engineer) is None


def test_lookalikes_are_queued_and_listed(world: World, engineer: Client) -> None:
    run = failing_run(world)
    for number in range(2):
        document(world, relative(failed(world).text, number), f"like-{number}")
    form = f"/p/invoices/evaluation/{run.number}/lookalikes/?field=vendor"
    assertContains(engineer.get(form), "1 document</strong> fails: vendor wrong")
    assertContains(engineer.get(form.replace("vendor", "nothing")), "No failing documents")
    bad = engineer.post(form, {"count": "0", "people": []})
    assertContains(bad, "Select at least one annotator", status_code=422)
    page = engineer.post(form, {"count": "20", "people": [str(world.annotator.pk)]}, follow=True)
    for words in ("like-0", "like-1", "ana", "20 were requested"):
        assertContains(page, words)
    assertContains(engineer.get(form), "2 documents for “vendor wrong”")
    assertContains(engineer.get(run.get_absolute_url() + "?field=vendor"), "lookalikes/?field=vendor")

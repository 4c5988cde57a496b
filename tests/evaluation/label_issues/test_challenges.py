"""A label that somebody doubts: adjudicated, never changed in silence, and answered by what was decided."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from evaluation.label_issues import challenges as challenges_module
from evaluation.models import AuditEntry, EvalRun, LabelChallenge
from evaluation.scores.label_noise import LabelNoise, candidate_label
from labeling.annotation import services as annotation_services
from labeling.annotation.queue import skip
from labeling.datasets import freeze
from labeling.models import Document, Gold, Project
from labeling.review import adjudication
from labeling.review import queries as review_queries
from labeling.review import services as review_services
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from tests.evaluation.factories import World, evaluated
from tests.evaluation.gold_desk import decide, doubted, first_id, reviewer, says_total
from tests.shared_rows import shared_fixture

TOTAL = "total_amount"


@shared_fixture
def run(world: World) -> EvalRun:
    return evaluated(world, says_total(world, first_id(world), "7.77"))


def fresh(world: World) -> Document:
    document: Document = Document.objects.select_related("project").get(
        project=world.project, external_id=first_id(world)
    )
    return document


def gold_of(document: Document) -> Any:
    return Gold.objects.get(document=document).revision.value


def test_a_challenge_disputes_the_document_and_changes_no_gold(world: World, run: EvalRun) -> None:
    before = gold_of(fresh(world))
    question = doubted(run, first_id(world), world.engineer, reason="It says 7.77 at the bottom.")
    document = fresh(world)
    assert (document.disputed, document.state, gold_of(document)) == (True, "submitted", before)
    assert list(review_queries.pending_adjudication(world.project)) == [document]
    assert (question.answer, question.revision.value) == ("open", before)
    assert doubted(run, first_id(world), world.annotator, path="vendor").pk == question.pk, "two of a document are one"
    assert LabelChallenge.objects.get().created_by == world.engineer
    entry = AuditEntry.objects.get(action="doubted")
    assert (entry.user, entry.details["field"], entry.details["evaluation"]) == (world.engineer, TOTAL, run.number)


def test_a_reviewer_sees_the_challenged_field_and_the_candidate(world: World, run: EvalRun) -> None:
    doubted(run, first_id(world), world.engineer, reason="look")
    case = adjudication.open_adjudication(document=fresh(world), user=reviewer(world))
    [difference] = case.resolve().conflicts
    assert (difference.path, [said.value for said in difference.votes]) == (
        TOTAL,
        [gold_of(fresh(world))[TOTAL], Decimal("7.77")],
    )
    assert case.label_names == ["an import", str(world.version)]
    assert case.resolve().value == gold_of(fresh(world)), "unpicked, the label stays what it is"
    assert case.challenge is not None
    assert (case.challenge.name, case.challenge.reason) == ("erik", "look")


def test_corrected_gold_answers_the_question(world: World, run: EvalRun) -> None:
    doubted(run, first_id(world), world.engineer)
    rita = reviewer(world)
    assert challenges_module.resolve_project(world.project) == 0, "nobody has decided yet"
    decide(fresh(world), rita, total_amount=Decimal("7.77"))
    assert challenges_module.resolve_project(world.project) == 1
    question = LabelChallenge.objects.get()
    assert (question.answer, question.answered_by) == ("corrected", rita)
    document = fresh(world)
    assert (document.disputed, document.state, gold_of(document)[TOTAL]) == (False, "approved", Decimal("7.77"))
    assert AuditEntry.objects.get(action="answered").details["answer"] == "Upheld"
    assert challenges_module.resolve_project(world.project) == 0, "once is enough"


def test_gold_that_stays_answers_the_question_behind_many_open_ones(
    world: World, run: EvalRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenges_module, "_BATCH_SIZE", 2)
    rows = list(Document.objects.filter(project=world.project, holdout=True).order_by("pk")[:4])
    for document in rows:
        doubted(run, document.external_id, world.engineer, path="vendor")
    before = gold_of(rows[3])
    decide(rows[3], reviewer(world), vendor=before["vendor"])
    challenges_module.resolve_all()
    assert [question.document for question in LabelChallenge.objects.filter(answer="confirmed")] == [rows[3]]
    assert gold_of(rows[3]) == before


def test_the_next_label_after_a_rejection_resolves_the_challenge(world: World, run: EvalRun) -> None:
    doubted(run, first_id(world), world.engineer)
    case = adjudication.open_adjudication(document=fresh(world), user=reviewer(world))
    review_services.reject(document=fresh(world), user=reviewer(world), reason="Look again.", base_version=case.version)
    assert challenges_module.resolve_project(world.project) == 0
    value = {**gold_of(fresh(world)), "vendor": "ACME"}
    evidence = {"vendor": {"confirmed": True, "of": '"ACME"'}}
    document = fresh(world)
    base = annotation_services.open_document(document=document, user=world.owner).version
    annotation_services.submit(document=document, user=world.owner, value=value, evidence=evidence, base_version=base)
    assert challenges_module.resolve_project(world.project) == 1
    assert LabelChallenge.objects.get().answer == "corrected"


# -- four eyes ---------------------------------------------------------------------------------------------------------


def test_the_challenger_does_not_decide(world: World, run: EvalRun) -> None:
    rita = reviewer(world)
    doubted(run, first_id(world), rita)
    case = adjudication.open_adjudication(document=fresh(world), user=rita)
    assert case.refusal == adjudication.OWN_CHALLENGE
    with pytest.raises(Refused, match="You challenged this label"):
        adjudication.adjudicate(
            document=fresh(world), user=rita, value=gold_of(fresh(world)), evidence={}, base_version=case.version
        )
    Project.objects.filter(pk=world.project.pk).update(four_eyes=False)
    decide(fresh(world), rita, total_amount=Decimal("7.77"))
    assert challenges_module.resolve_project(world.project) == 1


def test_the_author_of_a_label_does_not_decide_on_its_challenge(world: World, run: EvalRun) -> None:
    rita = reviewer(world)
    doubted(run, first_id(world), world.engineer)
    decide(fresh(world), rita, total_amount=Decimal("7.77"))
    challenges_module.resolve_project(world.project)
    with pytest.raises(Refused, match="changed since this evaluation"):
        doubted(run, first_id(world), world.engineer)
    world.dataset = freeze.freeze(project=world.project, user=world.engineer)
    doubted(evaluated(world, says_total(world, first_id(world), "8.88")), first_id(world), world.engineer)
    assert adjudication.open_adjudication(document=fresh(world), user=rita).refusal == adjudication.OWN_LABEL


def submitted(world: World, user: User, **changes: Any) -> None:
    """Somebody labels the first document anew."""
    document = fresh(world)
    value = {**gold_of(document), **changes}
    evidence = {name: {"confirmed": True, "of": dumps(new)} for name, new in changes.items()}
    base = annotation_services.open_document(document=document, user=user).version
    annotation_services.submit(document=document, user=user, value=value, evidence=evidence, base_version=base)


def test_the_label_of_an_involved_user_does_not_count(world: World, run: EvalRun) -> None:
    person = reviewer(world, "rolf")
    before = gold_of(fresh(world))
    doubted(run, first_id(world), person)
    submitted(world, person, total_amount=Decimal("7.77"))
    document = fresh(world)
    assert (document.disputed, document.state, gold_of(document)) == (True, "submitted", before)
    assert challenges_module.resolve_project(world.project) == 0
    made = freeze.freeze(project=world.project, user=world.engineer, validation_share=0.1)
    assert made.pk == world.dataset.pk, "no version takes it"
    decide(fresh(world), reviewer(world), total_amount=Decimal("7.77"))
    assert challenges_module.resolve_project(world.project) == 1
    assert LabelChallenge.objects.get().answer == "corrected"
    assert gold_of(fresh(world))[TOTAL] == Decimal("7.77")


def test_the_approved_label_of_an_involved_user_is_a_decision(world: World, run: EvalRun) -> None:
    doubted(run, first_id(world), world.annotator)
    document, rita = fresh(world), reviewer(world)
    # As a label stands that was submitted before its author doubted, and approved after.
    Project.objects.filter(pk=world.project.pk).update(four_eyes=False)
    submitted(world, world.annotator, total_amount=Decimal("7.77"))
    Project.objects.filter(pk=world.project.pk).update(four_eyes=True)
    Gold.objects.filter(document=document).update(approved_by=rita)
    Document.objects.filter(pk=document.pk).update(state="approved")
    assert challenges_module.resolve_project(world.project) == 1
    question = LabelChallenge.objects.get()
    assert (question.answer, question.answered_by) == ("corrected", rita)
    assert (fresh(world).state, fresh(world).disputed) == ("approved", False)


def test_the_label_of_the_challenger_counts_only_without_four_eyes(world: World, run: EvalRun) -> None:
    doubted(run, first_id(world), world.annotator)
    Project.objects.filter(pk=world.project.pk).update(four_eyes=False)
    submitted(world, world.annotator, total_amount=Decimal("7.77"))
    assert (fresh(world).disputed, gold_of(fresh(world))[TOTAL]) == (False, Decimal("7.77"))
    Project.objects.filter(pk=world.project.pk).update(four_eyes=True)
    assert challenges_module.resolve_project(world.project) == 0
    assert fresh(world).disputed, "somebody else still has to decide"


def test_the_challenger_does_not_get_the_dispute(world: World, run: EvalRun) -> None:
    rolf, rita = reviewer(world, "rolf"), reviewer(world)
    rows = list(Document.objects.filter(project=world.project, holdout=True).order_by("pk")[:10])
    for document in rows[:9]:
        doubted(run, document.external_id, rolf, path="")
    assert adjudication.next_to_adjudicate(project=world.project, user=rolf) is None
    assert not Document.objects.filter(project=world.project, locked_by=rolf).exists(), "nor are others kept from it"
    doubted(run, rows[9].external_id, world.engineer, path="")
    next_document = adjudication.next_to_adjudicate(project=world.project, user=rolf)
    assert next_document is not None
    assert next_document.pk == rows[9].pk, "though it stands behind nine of their own"
    assert adjudication.next_to_adjudicate(project=world.project, user=rita) == rows[0]


# -- what cannot be doubted --------------------------------------------------------------------------------------------


def test_disputed_and_skipped_documents_cannot_be_challenged(world: World, run: EvalRun) -> None:
    document = fresh(world)
    Document.objects.filter(pk=document.pk).update(disputed=True)
    with pytest.raises(Refused, match="already in adjudication"):
        doubted(run, first_id(world), world.engineer)
    Document.objects.filter(pk=document.pk).update(disputed=False, state="new")
    skip(document=document, user=world.engineer, reason="unreadable")
    with pytest.raises(Refused, match="is skipped"):
        doubted(run, first_id(world), world.engineer)
    assert not LabelChallenge.objects.exists()
    Document.objects.filter(pk=document.pk).update(state="in_progress")
    doubted(run, first_id(world), world.engineer)
    assert (fresh(world).disputed, fresh(world).state) == (False, "in_progress"), "it stays in its queue"


# -- pure --------------------------------------------------------------------------------------------------------------


def test_the_candidate_is_gold_with_the_one_value_changed() -> None:
    gold = {"a": 1, "b": {"c": 2, "d": 3}, "rows": [{"x": 1}]}
    said = {"a": 9, "b": {"c": 8}, "rows": [{"x": 2}, {"x": 3}]}
    assert candidate_label(gold, said, "a") == {**gold, "a": 9}
    assert candidate_label(gold, said, "b.c") == {**gold, "b": {"c": 8, "d": 3}}
    assert candidate_label(gold, said, "b.d") == {**gold, "b": {"c": 2}}, "what it does not say is not there"
    assert candidate_label(gold, said, "rows[0].x") == {**gold, "rows": said["rows"]}, (
        "rows are paired by each in their way"
    )
    assert candidate_label(gold, said, "") == said
    assert candidate_label(gold, None, "a") == gold, "no output, no candidate"
    assert candidate_label(gold, ["a"], "") == gold
    assert candidate_label({"a": None}, {"b": {"c": 1}}, "b.c") == {"a": None, "b": {"c": 1}}
    assert gold == {"a": 1, "b": {"c": 2, "d": 3}, "rows": [{"x": 1}]}, "nothing is changed in place"


def test_label_noise_separates_errors_of_labels_and_models() -> None:
    def score(**outcomes: str) -> dict[str, Any]:
        return {"fields": [{"field": name, "outcome": outcome} for name, outcome in outcomes.items()]}

    noise = LabelNoise()
    noise.add(1, score(a="wrong", b="correct"), score(a="correct", b="wrong"), corrected=True)
    noise.add(2, score(a="wrong", b="missing"), score(a="wrong", b="missing"), corrected=False)
    counts = noise.as_dict()
    assert (counts["documents"], counts["corrected"], counts["keys"]) == (2, 1, [1])
    assert (counts["before"], counts["after"], counts["resolved"], counts["introduced"]) == (3, 3, 1, 1)
    assert counts["fields"][0] == {"field": "a", "before": 2, "after": 1, "resolved": 1, "introduced": 0}

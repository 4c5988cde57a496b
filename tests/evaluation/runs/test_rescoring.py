"""Outputs scored again by corrected gold: nothing is generated, the old scores stay, label noise is told."""

import json
from decimal import Decimal
from typing import Any

import pytest

from evaluation.comparison.services import get_or_create_comparison
from evaluation.label_issues import challenges, corrections
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import jobs as run_jobs
from evaluation.runs import outputs, rescoring, summary
from labeling.annotation import services as annotation_services
from labeling.datasets import freeze
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import DatasetVersion, Document, DocumentScore
from labeling.projects.services import create_project, save_contract
from labeling.review import adjudication
from labeling.review import services as review_services
from slmstudio.contract.json_text import dumps, loads
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from tests.evaluation.factories import World, evaluated, rewrite, right
from tests.evaluation.gold_desk import decide, doubted, first_id, reviewer, says_total, scored_again
from tests.shared_rows import shared_fixture


def corrected(world: World, run: EvalRun, total: str = "7.77") -> DatasetVersion:
    """The label of the first document corrected, and a version frozen with it."""
    key = first_id(world)
    doubted(run, key, world.engineer)
    decide(Document.objects.get(project=world.project, external_id=key), reviewer(world), total_amount=Decimal(total))
    challenges.resolve_project(world.project)
    made = corrections.freeze(project=world.project, user=world.engineer)
    assert isinstance(made, DatasetVersion)
    return made


@shared_fixture
def run(world: World) -> EvalRun:
    return evaluated(world, says_total(world, first_id(world), "7.77"))


def test_the_models_word_becomes_right_and_all_else_stays(world: World, run: EvalRun) -> None:
    before, dataset = json.loads(json.dumps(run.scores)), corrected(world, run)
    assert (dataset.seed, dataset.rules) == (world.dataset.seed, world.dataset.rules)
    splits = [dict(made.items.values_list("document__external_id", "split")) for made in (world.dataset, dataset)]
    assert splits[0] == splits[1], "drawn as the last version was"
    made = scored_again(run, dataset, world.engineer)
    assert (made.status, made.error, made.rescored_from) == (Status.DONE, "", run)
    assert (run.scores["document_exact"]["k"], made.scores["document_exact"]["k"]) == (11, 12)
    run.refresh_from_db()
    assert run.scores == before
    noise = made.facts["rescored"]["noise"]
    counts = [noise[name] for name in ("corrected", "before", "resolved", "introduced", "after")]
    assert counts == [1, 1, 1, 0, 0]
    assert noise["fields"] == [{"field": "total_amount", "before": 1, "after": 0, "resolved": 1, "introduced": 0}]
    for name in ("split", "mode", "model_version", "training_run", "concurrency", "spec", "outputs_sha256", "latency"):
        assert getattr(made, name) == getattr(run, name), name
    for name in ("docs_per_second", "peak_memory_bytes", "device", "prompt_tokens", "output_tokens"):
        assert made.facts[name] == run.facts[name], name
    assert made.facts["bounds"] == {"field_exact": summary.field_accuracy_interval(made.outputs.all())}
    assert made.facts["bounds"] != run.facts["bounds"]
    answers = [list(each.outputs.order_by("document_id").values_list("raw", "latency_ms")) for each in (run, made)]
    assert answers[0] == answers[1], "nothing is generated"
    assert artifacts.local_path(made.outputs_key).read_bytes() == artifacts.local_path(run.outputs_key).read_bytes()
    assert outputs.rows_match_file(made)
    assert loads(dumps(summary.recompute_summary(made))) == loads(dumps(made.scores))


def test_a_model_that_repeats_the_wrong_label_is_wrong_now(world: World, run: EvalRun) -> None:
    parrot = evaluated(world, right, tuned=False)
    dataset = corrected(world, run)
    a, b = scored_again(parrot, dataset, world.engineer), scored_again(run, dataset, world.engineer)
    noise = a.facts["rescored"]["noise"]
    assert (noise["before"], noise["introduced"], noise["after"]) == (0, 1, 1)
    result = get_or_create_comparison(a=a, b=b).result
    assert result["n"] == 12
    assert b.scores["document_exact"]["k"] - a.scores["document_exact"]["k"] == 1


def test_asked_or_delivered_twice_it_is_one_evaluation_and_once_failed_another(world: World, run: EvalRun) -> None:
    dataset = corrected(world, run)

    def rescored(source: EvalRun) -> EvalRun:
        return rescoring.rescore(run=source, dataset=dataset, user=world.engineer, confirm_holdout=True)

    made = rescored(run)
    assert rescored(run).pk == made.pk
    made.fail("The disk is full.")
    again = rescored(run)
    assert again.pk != made.pk
    document = Document.objects.filter(project=world.project, holdout=True).earliest("pk")
    # What an attempt that was cut off had stored.
    EvalOutput.objects.create(eval_run=again, document=document, gold={}, finish_reason="stop")
    for _ in range(2):
        run_jobs.run_evaluation(again.pk)
    again.refresh_from_db()
    assert (again.status, again.outputs.count()) == (Status.DONE, 12)
    assert rescored(again).pk == again.pk, "of the first one's outputs"
    again.delete()
    artifacts.local_path(run.outputs_key).write_text("{}\n")
    changed = scored_again(run, dataset, world.engineer)
    assert (changed.status, bool(changed.error)) == (Status.FAILED, True), "outputs that were tampered with"


def test_documents_of_one_version_only_are_excluded_with_a_note(world: World, run: EvalRun) -> None:
    gone = Document.objects.filter(project=world.project, holdout=True).order_by("pk")[3]
    Document.objects.filter(pk=gone.pk).update(state="rejected")  # set aside: no version takes it
    text = "Quite another kind of paper: lorem ipsum dolor sit amet, consectetur, total 12.00"
    gold = loads('{"invoice_id":"X-1","date":"2026-01-14","vendor":"Lorem","total_amount":12.00}')
    imported = import_rows(
        project=world.project,
        rows=[ParsedRow(1, {"id": "late", "text": text, "gold": gold})],
        source="late",
        as_holdout=True,
    )
    assert imported.rejected == 0, imported.rejects
    made = scored_again(run, corrected(world, run), world.engineer)
    told = made.facts["rescored"]
    assert (told["gone"], told["gone_ids"]) == (1, [gone.external_id])
    assert (told["unanswered"], told["unanswered_ids"]) == (1, ["late"])
    assert (made.outputs.count(), made.scores["documents"], made.latency["n"]) == (11, 11, 11)
    assert outputs.rows_match_file(made), "its file has what its rows have"


def test_another_schema_scores_the_same_outputs(world: World) -> None:
    def shouts(row: dict[str, Any]) -> dict[str, Any]:
        return {"raw": dumps({**row["gold"], "vendor": str(row["gold"]["vendor"]).swapcase()})}

    run = evaluated(world, shouts)
    schema = loads(world.project.schema_version.schema_text)
    schema["properties"]["vendor"]["x-slm"] = {"kind": "text", "ignore": ["case", "spacing"]}
    contract = world.project.contract
    save_contract(
        project=world.project,
        user=world.owner,
        instruction=contract.instruction,
        schema_text=dumps(schema),
        constraints=contract.constraints,
    )
    made = scored_again(run, freeze.freeze(project=world.project, user=world.engineer), world.engineer)
    assert (run.scores["per_field"]["vendor"]["k"], made.scores["per_field"]["vendor"]["k"]) == (0, 12)
    told = made.facts["rescored"]
    assert (told["schema"], told["noise"]["corrected"], told["noise"]["resolved"]) == (True, 0, 0), (
        "not the labels' errors"
    )


def test_what_cannot_be_scored_again_is_refused_with_a_reason(world: World, run: EvalRun) -> None:
    with pytest.raises(Refused, match="already"):
        rescoring.rescore(run=run, dataset=world.dataset, user=world.engineer, confirm_holdout=True)
    other = create_project(owner=world.owner, name="Other", slug="other", template="invoice")
    stray = DatasetVersion(project=other, pk=999_999)
    with pytest.raises(Refused, match="another project"):
        rescoring.rescore(run=run, dataset=stray, user=world.engineer, confirm_holdout=True)
    waiting = EvalRun(project=world.project, number=9, status=Status.RUNNING)
    with pytest.raises(Refused, match="not finished"):
        rescoring.rescore(run=waiting, dataset=world.dataset, user=world.engineer)
    assert EvalRun.objects.count() == 1


def test_old_scores_by_another_scorer_are_scored_again_by_the_same_gold(world: World, run: EvalRun) -> None:
    rows: Any = EvalRun.objects.filter(pk=run.pk)
    rows.update(scorer_version="0")
    run.refresh_from_db()
    made = scored_again(run, world.dataset, world.engineer)
    assert (made.status, made.facts["rescored"]["scorer"], made.facts["rescored"]["noise"]["corrected"]) == (
        Status.DONE,
        "0",
        0,
    )


def test_rescoring_updates_documents_without_a_newer_evaluation(world: World) -> None:
    run = evaluated(world, right, split="train")
    rewrite(run, scorer_version="0")
    run.refresh_from_db()
    dataset = world.dataset
    made = scored_again(run, dataset, world.engineer)
    assert set(DocumentScore.objects.values_list("source", flat=True)) == {f"evaluation {made.number}"}
    newer = evaluated(world, right, tuned=False, split="train")
    EvalRun.objects.filter(pk=made.pk).delete()
    scored_again(run, dataset, world.engineer)
    assert set(DocumentScore.objects.values_list("source", flat=True)) == {f"evaluation {newer.number}"}


# -- corrections -------------------------------------------------------------------------------------------------------


def test_corrections_wait_for_a_version_and_then_for_the_evaluations(world: World, run: EvalRun) -> None:
    assert corrections.correction_status(world.project).waiting == []
    key = first_id(world)
    doubted(run, key, world.engineer)
    document = Document.objects.get(project=world.project, external_id=key)
    assert corrections.correction_status(world.project).waiting == [], "nothing is decided yet"
    decide(document, reviewer(world), total_amount=Decimal("7.77"))
    challenges.resolve_project(world.project)
    assert corrections.correction_status(world.project).waiting == [document.pk]
    made = corrections.freeze(project=world.project, user=world.engineer)
    status = corrections.correction_status(world.project)
    assert (status.newest, status.waiting, status.frozen, status.behind) == (made, [], [document.pk], [run])
    [again], _ = corrections.rescore_all(
        project=world.project, numbers=[run.number], user=world.engineer, confirm_holdout=True
    )
    assert corrections.correction_status(world.project).behind == []
    assert again.rescored_from == run


def test_what_the_newest_version_leaves_out_waits_for_none(world: World, run: EvalRun) -> None:
    key = first_id(world)
    document = Document.objects.get(project=world.project, external_id=key)
    doubted(run, key, world.engineer)
    # No rule of a later version takes it: here, because it was put aside when that was frozen.
    Document.objects.filter(pk=document.pk).update(state="skipped")
    newest = freeze.freeze(project=world.project, user=world.engineer)
    Document.objects.filter(pk=document.pk).update(state="submitted")
    decide(document, reviewer(world), total_amount=Decimal("7.77"))
    challenges.resolve_project(world.project)
    assert not newest.items.filter(document=document).exists()
    assert corrections.correction_status(world.project).waiting == []


def test_what_was_sent_back_when_a_version_was_frozen_waits_for_the_next(world: World, run: EvalRun) -> None:
    key = first_id(world)
    doubted(run, key, world.engineer)
    document = Document.objects.select_related("project").get(project=world.project, external_id=key)
    opened_case = adjudication.open_adjudication(document=document, user=reviewer(world))
    review_services.reject(
        document=document, user=reviewer(world), reason="Look again.", base_version=opened_case.version
    )
    newest = freeze.freeze(project=world.project, user=world.engineer)
    assert not newest.items.filter(document=document).exists()
    opened = annotation_services.open_document(document=document, user=world.owner)
    annotation_services.submit(
        document=document,
        user=world.owner,
        value={**opened.value, "vendor": "ACME"},
        evidence={"vendor": {"confirmed": True, "of": '"ACME"'}},
        base_version=opened.version,
    )
    challenges.resolve_project(world.project)
    assert corrections.correction_status(world.project).waiting == [document.pk]


def test_one_that_cannot_be_scored_again_holds_up_no_other(world: World, run: EvalRun) -> None:
    bench = evaluated(world, right, tuned=False)
    newest = corrected(world, run)
    by_it = evaluated(world, right, tuned=False, dataset=newest)
    numbers = [bench.number, by_it.number, run.number]
    made, refusals = corrections.rescore_all(
        project=world.project, numbers=numbers, user=world.engineer, confirm_holdout=True
    )
    assert [rescored.rescored_from for rescored in made] == [run, bench]
    assert len(refusals) == 1
    with pytest.raises(Refused, match="already"):
        corrections.rescore_all(
            project=world.project, numbers=[by_it.number], user=world.engineer, confirm_holdout=True
        )


def test_the_label_of_a_training_document_moves_no_hold_out_score(world: World, run: EvalRun) -> None:
    document = Document.objects.filter(project=world.project, holdout=False).earliest("pk")
    opened = annotation_services.open_document(document=document, user=world.engineer)
    value = {**opened.value, "vendor": "Else"}
    evidence = {"vendor": {"confirmed": True, "of": '"Else"'}}
    annotation_services.submit(
        document=document, user=world.engineer, value=value, evidence=evidence, base_version=opened.version
    )
    dataset = freeze.freeze(project=world.project, user=world.engineer)
    made = scored_again(run, dataset, world.engineer)
    assert (made.scores["field_exact"], made.facts["rescored"]["noise"]["corrected"]) == (run.scores["field_exact"], 0)

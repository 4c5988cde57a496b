"""Policies and gate reports."""

from decimal import Decimal
from typing import Any

import pytest

from evaluation.gates import GateError, Verdict
from evaluation.models import AuditEntry, EvalOutput, EvalRun, GatePolicy, GateReport
from evaluation.services import packets
from evaluation.services.evals import Refused, start_evaluation
from evaluation.services.gates import current_policy, holdout_origins, looks, make_report, rules, set_policy
from labeling.models import Contract, DatasetItem
from labeling.services import datasets
from slmstudio import artifacts
from slmstudio.hashing import folder_hash, sha256_file, sha256_text
from tests.evaluation.factories import World, broken, evaluated, pretend, right


def changed(policy: GatePolicy, key: str, threshold: float) -> dict[str, Any]:
    """The policy's gates with one threshold changed."""
    gates = rules(policy).to_json()
    for gate in gates["gates"]:
        if gate["key"] == key:
            gate.update(threshold=threshold, title="")
    return gates


def verdict_of(report: GateReport, key: str) -> Verdict:
    return next(Verdict.from_dict(row) for row in report.verdicts if row["gate"]["key"] == key)


# -- policies ---------------------------------------------------------------------------------------------------------


def test_the_first_policy_comes_from_the_contract_and_follows_it(world: World) -> None:
    first = current_policy(project=world.project)
    assert current_policy(project=world.project).pk == first.pk
    assert {"schema-valid", "field-errors", "no-regression", "latency"} <= {gate.key for gate in rules(first)}
    Contract.objects.filter(project=world.project).update(constraints={"latency_p95_ms": 250})
    second = current_policy(project=world.project)
    assert (first.number, second.number) == (1, 2)
    assert next(gate for gate in rules(second) if gate.key == "latency").threshold == 250


def test_a_policy_that_somebody_set_no_longer_follows_the_contract(world: World) -> None:
    mine = set_policy(
        project=world.project,
        user=world.manager,
        gates=changed(current_policy(project=world.project), "field-errors", 0.2),
    )
    Contract.objects.filter(project=world.project).update(constraints={"latency_p95_ms": 250})
    assert current_policy(project=world.project).pk == mine.pk
    entry = AuditEntry.objects.get(about="gate policy")
    assert (entry.user, entry.details["sha256"]) == (world.manager, mine.sha256)


def test_setting_the_policy_that_is_there_changes_nothing(world: World) -> None:
    policy = current_policy(project=world.project)
    assert set_policy(project=world.project, user=world.manager, gates=policy.gates).pk == policy.pk
    assert not AuditEntry.objects.exists()


def test_a_policy_that_is_none_is_refused_with_the_field(world: World) -> None:
    gates = changed(current_policy(project=world.project), "schema-valid", 99)
    with pytest.raises(GateError) as refusal:
        set_policy(project=world.project, user=world.manager, gates=gates)
    assert refusal.value.field == "gates[0].threshold"


# -- reports ----------------------------------------------------------------------------------------------------------


def test_the_counts_of_a_report_are_those_of_the_outputs(world: World) -> None:
    base, tuned = evaluated(world, broken, tuned=False), evaluated(world, pretend(2, spoil=0.2, invalid=0.2))
    report = make_report(eval_run=tuned, baseline=base, user=world.engineer)
    valid = EvalOutput.objects.filter(eval_run=tuned, valid=True).count()
    schema_valid = verdict_of(report, "schema-valid")
    assert (schema_valid.k, schema_valid.n) == (valid, 12)
    assert verdict_of(report, "no-regression").n == 12
    assert report.sentence.startswith("May ship: no.")
    assert not report.passed


def test_latency_is_judged_by_the_run_itself(world: World) -> None:
    slow = evaluated(world, right, latency_ms=lambda index: 90_000.0)
    report = make_report(eval_run=slow, baseline=None, user=world.engineer)
    assert verdict_of(report, "latency").measured == 90_000
    fast = evaluated(world, right, latency_ms=lambda index: 5.0)
    report = make_report(eval_run=fast, baseline=None, user=world.engineer)
    assert verdict_of(report, "latency").measured == 5


def test_without_a_baseline_no_regression_is_not_proven(world: World) -> None:
    report = make_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    assert verdict_of(report, "no-regression").status == "NOT PROVEN"


def test_without_a_price_cost_is_not_proven(world: World) -> None:
    Contract.objects.filter(project=world.project).update(constraints={"cost_per_request": 0.01})
    report = make_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    assert "names no price" in verdict_of(report, "cost").sentence


def test_the_same_outputs_under_the_same_policy_are_the_same_report(world: World) -> None:
    run = evaluated(world, right)
    first = make_report(eval_run=run, baseline=None, user=world.engineer)
    assert make_report(eval_run=run, baseline=None, user=world.manager).pk == first.pk
    assert AuditEntry.objects.filter(action="judged").count() == 1


def test_looks_at_a_holdout_are_counted_and_each_is_judged_more_strictly(world: World) -> None:
    reports = [
        make_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer) for _ in range(3)
    ]
    assert [report.look for report in reports] == [1, 2, 3]
    confidences = [verdict_of(report, "schema-valid").confidence for report in reports]
    assert confidences == pytest.approx([0.975, 0.9875, 0.99375])
    assert [report.number for report in looks(reports[0].eval_run)] == [1, 2, 3]


def test_a_holdout_that_grew_is_still_the_same_holdout(world: World) -> None:
    make_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    document = world.project.documents.filter(holdout=False).earliest("pk")
    document.holdout = True
    document.save(update_fields=["holdout"])
    grown = datasets.freeze(project=world.project, user=world.engineer, validation_share=0.1)
    assert grown.holdout_sha256 != world.dataset.holdout_sha256
    run = evaluated(world, right, dataset=grown, tuned=False)
    assert make_report(eval_run=run, baseline=None, user=world.engineer).look == 2


def test_a_model_is_not_judged_by_documents_it_was_trained_on(world: World) -> None:
    trained_on = DatasetItem.objects.filter(dataset=world.dataset, split="train").first()
    assert trained_on is not None
    document = trained_on.document
    document.holdout = True
    document.save(update_fields=["holdout"])
    leaky = datasets.freeze(project=world.project, user=world.engineer, validation_share=0.1)
    run = evaluated(world, right, dataset=leaky)
    with pytest.raises(Refused, match=document.external_id) as refusal:
        make_report(eval_run=run, baseline=None, user=world.engineer)
    assert refusal.value.field == "eval_run"


def test_what_cannot_be_judged_is_refused(world: World) -> None:
    done, validation = evaluated(world, right), evaluated(world, right, split="validation")
    waiting: EvalRun = start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, base_model=world.base_model
    )
    for eval_run, baseline, field, words in (
        (waiting, None, "eval_run", "is not done"),
        (validation, None, "eval_run", "not on the hold-out"),
        (done, done, "baseline", "its own baseline"),
        (done, validation, "baseline", "no finished evaluation on the hold-out"),
        (done, waiting, "baseline", "no finished evaluation on the hold-out"),
    ):
        with pytest.raises(Refused, match=words) as refusal:
            make_report(eval_run=eval_run, baseline=baseline, user=world.engineer)
        assert refusal.value.field == field
    assert not GateReport.objects.exists()


def test_origins_say_whose_gold_judges(world: World) -> None:
    assert holdout_origins(evaluated(world, right)) == {"imported": 12}


# -- the packet -------------------------------------------------------------------------------------------------------


def test_the_hashes_of_the_packet_are_those_of_the_files(world: World) -> None:
    base, tuned = evaluated(world, broken, tuned=False), evaluated(world, pretend(2, spoil=0.2))
    report = make_report(eval_run=tuned, baseline=base, user=world.engineer)
    weights = artifacts.local_path(world.version.folder_key)
    dataset = datasets.file_path(world.dataset)
    held_out = [line for line in dataset.read_text().splitlines(keepends=True) if '"split":"holdout"' in line]
    assert len(held_out) == 12
    expected = {
        "model": folder_hash(weights),
        "tokenizer": sha256_file(weights / "tokenizer.json"),
        "dataset": sha256_file(dataset),
        "holdout": sha256_text("".join(held_out)),
        "schema": sha256_text(world.project.schema_version.schema_text),
        "outputs": sha256_file(artifacts.local_path(tuned.outputs_key)),
        "baseline": sha256_file(artifacts.local_path(base.outputs_key)),
    }
    assert expected.items() <= report.packet.items()
    assert set(report.packet) == {*expected, "scorer", "policy", "scores"}
    checks = packets.verify(report)
    assert [check.name for check in checks if not check.equal] == []
    assert {check.name for check in checks} == set(report.packet)


def test_a_packet_has_one_hash_whatever_its_order() -> None:
    assert packets.packet_hash({"a": "1", "b": "2"}) == packets.packet_hash({"b": "2", "a": "1"})
    assert packets.packet_hash({"a": "1", "b": "2"}) != packets.packet_hash({"a": "1", "b": "3"})
    assert packets.scores_hash({"x": [Decimal("1.5"), {"b": 1, "a": 2}]}) == packets.scores_hash(
        {"x": [Decimal("1.5"), {"a": 2, "b": 1}]}
    )

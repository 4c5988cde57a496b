"""Gates where documents come in families: verdicts count whole families, and say what that costs."""

from dataclasses import replace

import pytest

from evaluation.gates.facts import Families, RunFacts, measure
from evaluation.gates.metrics.metric import Resources, VerdictStatus
from evaluation.gates.policy.definition import Gate, GateError, GateSet
from evaluation.gates.services import create_report
from evaluation.gates.verdicts import Verdict, verdict_for, verdicts_for
from evaluation.models import EvalOutput
from evaluation.runs import summary
from labeling.datasets.freeze import freeze
from labeling.datasets.freeze_rules import Rules
from labeling.models import Document
from tests.evaluation.factories import World, evaluated, right

VALID = Gate("valid", "schema_valid_rate", ">=", 0.95)
ERRORS = Gate("errors", "document_error_rate", "<=", 0.05)
FIELDS = Gate("fields", "field_error_rate", "<=", 0.05)
LOSS = Gate("loss", "no_regression", ">=", 0.05, compared_with="base")
GATES = [VALID, ERRORS, FIELDS, LOSS]


def score(is_right: bool) -> dict[str, object]:
    outcome = "correct" if is_right else "wrong"
    fields = [{"field": name, "outcome": outcome, "gold": "a"} for name in ("number", "total")]
    return {"exact": is_right, "schema_valid": is_right, "valid_json": True, "fields": fields}


def facts(families: int, each: int, failing: int = 0) -> RunFacts:
    """All documents of the first ``failing`` families are wrong, and right in the baseline."""
    documents = range(families * each)
    rows = [EvalOutput(document_id=pk, score=score(pk // each >= failing)) for pk in documents]
    of = {pk: pk // each for pk in documents} if each > 1 else {}
    return RunFacts(
        outputs=rows, requests=rows, resources=Resources(), baseline={pk: score(True) for pk in documents},
        baseline_name="base", families=Families(of, ("supplier", "suppliers")),
    )  # fmt: skip


def verdict(gate: Gate, run_facts: RunFacts) -> Verdict:
    return verdict_for(gate, measure(GateSet((gate,)), run_facts)[gate.key])


def test_families_prove_what_as_many_documents_prove() -> None:
    for gate in GATES:
        few, enough = verdict(gate, facts(58, 5)), verdict(gate, facts(59, 5))
        assert (few.status, enough.status) == (VerdictStatus.NOT_PROVEN, VerdictStatus.PASS), gate.key
        assert (few.families, few.n, round(few.effective or 0)) == (58, 290, 58)
        assert "290 documents from 58 suppliers count as about 58" in few.sentence
        assert verdict(gate, facts(290, 1)).status is VerdictStatus.PASS


def test_few_failing_families_are_no_proof_of_failure() -> None:
    for gate in GATES:
        alone, together = verdict(gate, facts(100, 1, 15)), verdict(gate, facts(20, 5, 3))
        assert (alone.status, together.status) == (VerdictStatus.FAIL, VerdictStatus.NOT_PROVEN), gate.key
        assert together.measured == alone.measured


def test_the_required_sample_is_in_documents_and_passes() -> None:
    for gate in GATES:
        unproven = verdict(gate, facts(20, 5))
        assert unproven.needed is not None
        assert 185 <= unproven.needed <= 205
        assert unproven.allowed_failures is None
        assert verdict(gate, facts((100 + unproven.needed + 4) // 5, 5)).status is VerdictStatus.PASS


def test_families_of_one_document_change_nothing() -> None:
    plain = replace(facts(80, 1, 2), families=Families())
    alone = replace(plain, families=Families({pk: pk for pk in range(80)}))
    for gate in GATES:
        assert verdict(gate, plain) == verdict(gate, alone)
        assert verdict(gate, plain).families is None


def test_a_gate_on_one_supplier_counts_its_documents() -> None:
    supplier_facts = replace(
        facts(1, 60), metadata={pk: {"supplier": "acme"} for pk in range(60)},
        families=Families(dict.fromkeys(range(60), 0), key="supplier"),
    )  # fmt: skip
    about_it = replace(VALID, slice="metadata.supplier=acme")
    assert (verdict(VALID, supplier_facts).status, verdict(about_it, supplier_facts).status) == (
        VerdictStatus.NOT_PROVEN,
        VerdictStatus.PASS,
    )


def test_known_and_new_families_are_slices() -> None:
    plain = facts(80, 1, 2)
    split_facts = replace(plain, families=Families(known=frozenset(range(10))))
    known, new = (verdict(replace(VALID, slice=f"families={name}"), split_facts) for name in ("known", "new"))
    assert ((known.k, known.n), (new.k, new.n)) == ((8, 10), (70, 70))
    assert verdict(replace(VALID, slice="families=known"), plain).measured is None
    with pytest.raises(GateError, match="slice"):
        replace(VALID, slice="families=old")


def test_an_exhausted_holdout_has_no_families() -> None:
    (unproven,) = verdicts_for(GateSet((VALID,)), {}, 1, exhausted="none left")
    assert (unproven.status, unproven.families) == (VerdictStatus.NOT_PROVEN, None)


@pytest.mark.django_db
def test_a_report_counts_the_families_of_its_dataset(world: World) -> None:
    held = list(Document.objects.filter(project=world.project, holdout=True).order_by("pk"))
    for place, document in enumerate(held):
        document.metadata = {"vendor": f"vendor {place // 4}"}
        document.save(update_fields=["metadata"])
    world.dataset = freeze(project=world.project, user=world.engineer, rules=Rules(group_by="metadata.vendor"))
    run = evaluated(world, say=right)
    families = -(-len(held) // 4)
    assert (run.facts["families"]["families"], run.facts["families"]["word"]) == (families, "vendors")
    assert run.facts["families"]["effective"] <= families
    assert run.facts["families"]["slices"].keys() == {"new"}
    assert summary.recompute_summary(run) == run.scores
    report = create_report(eval_run=run, baseline=None, user=world.manager)
    row = next(row for row in report.verdicts if row["gate"]["key"] == "schema-valid")
    assert (row["families"], row["n"]) == (families, len(held))
    assert row["effective"] == pytest.approx(families, abs=0.1)

"""The gates on outputs, tested on the documents of a benchmark: whether a candidate could pass them.

It is no gate report: the hold-out is not used, and no alpha is spent.
"""

from collections.abc import Iterable
from typing import Any

from evaluation.gates.facts import Answer, RunFacts, measure
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.findings import Status
from evaluation.gates.metrics.metric import Resources, Source
from evaluation.gates.policy.definition import GatePolicy
from evaluation.gates.policy.services import current_policy, gates_of
from evaluation.gates.verdicts import all_passed, verdict_for, without_number
from evaluation.models import Benchmark, EvalOutput, EvalRun


def verdicts(benchmark: Benchmark, done: Iterable[EvalRun]) -> dict[str, dict[str, Any]]:
    """Run number (as text, for JSON) -> ``{"status", "sentences"}``; empty where no gate can be tested.

    ``status``: FAIL where one gate fails, PASS where all pass, else NOT PROVEN. ``sentences``: of the gates that do not
    pass. Gates on slices and comparisons need the hold-out and are left out; limits of resources are shown apart.
    """
    policy = gates_of(current_policy(project=benchmark.project))
    gates = [gate for gate in policy if _is_testable(gate)]
    if not gates:
        return {}
    return {str(run.number): _verdict(GatePolicy(tuple(gates)), run) for run in done}


def _is_testable(gate: Any) -> bool:
    return METRICS[gate.metric].source is Source.ANSWERS and not gate.slice and not gate.compared_with


def _verdict(policy: GatePolicy, run: EvalRun) -> dict[str, Any]:
    rows: Any = EvalOutput.objects.filter(eval_run=run).defer("gold", "raw", "error").order_by("document_id")
    outputs = [Answer(row.document_id, row.tags, row.score, row) for row in rows]
    measured = measure(policy, RunFacts(outputs, outputs, Resources()))
    found = [verdict_for(gate, measured[gate.key]) for gate in policy]
    failed = any(one.status is Status.FAIL for one in found)
    status = Status.FAIL if failed else Status.PASS if all_passed(found) else Status.NOT_PROVEN
    sentences = [
        f"{one.gate.title}: {one.status}, {without_number(one.sentence)}"
        for one in found
        if one.status is not Status.PASS
    ]
    return {"status": str(status), "sentences": sentences}

"""Answer policies of ``bench.delivery_jobs``: the hold-out under a limit on confidence, with a larger model, and under
error budgets, with what the what-if curve of the validation documents predicts."""

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from bench.delivery_traffic import Accuracy, Caller, Policy, Reply, Work, send
from bench.serving import running
from bench.studio import free_port, wait_for
from bench.timing import percentile, table
from examples.rows import write
from slmstudio.contract.json_text import loads

LARGER = "Larger model"
#: assumed prices of the larger model, per million tokens
PRICE_IN, PRICE_OUT = 2.5, 10.0


@contextlib.contextmanager
def larger_model(work: Work) -> Iterator[None]:
    """The stand-in, fitted on all rows outside validation and hold-out, as an endpoint that was evaluated."""
    from django.contrib.auth.models import User

    from evaluation.endpoints.services import save_endpoint
    from evaluation.models import Endpoint, EvalRun
    from evaluation.runs.services import start_evaluation
    from labeling.datasets.queries import rows
    from labeling.models import Split
    from slmstudio.runs.models import Status

    run = work.report.eval_run
    others = {row["id"] for row in rows(run.dataset, Split.VALIDATION)}
    train = [row for row in work.labeled if row["id"] not in others]
    write(train, work.folder / "larger.jsonl")
    port = free_port()
    with running(sys.executable, "-m", "bench.larger_model", str(port), str(work.folder / "larger.jsonl")):
        wait_for(port)
        user = User.objects.get(username=work.engineer)
        known = Endpoint.objects.in_use(work.project).filter(name=LARGER).first()
        endpoint = save_endpoint(
            project=work.project, user=user, endpoint=known, name=LARGER, url=f"http://127.0.0.1:{port}/v1",
            model="n-grams", key_variable="", structured="json_schema", logprobs=False, timeout_seconds=30, at_once=4,
            max_tokens=64, price_in=PRICE_IN, price_out=PRICE_OUT,
        )  # fmt: skip
        evaluation = start_evaluation(
            project=work.project, user=user, dataset=run.dataset, model=endpoint, split=Split.VALIDATION, at_once=4
        )
        while evaluation.is_live:
            time.sleep(1)
            evaluation = EvalRun.objects.get(pk=evaluation.pk)
        if evaluation.status != Status.DONE:
            raise SystemExit(f"The larger model was not evaluated: {evaluation.error}")
        exact = evaluation.scores["document_exact"]
        print(
            f"{LARGER} (a stand-in: n-grams of {len(train):,} messages behind an HTTP server; prices are assumed): "
            f"{exact['k']} of {exact['n']} validation messages right.\n"
        )
        yield


def policies(work: Work, caller: Caller, first: list[Reply], larger: str | None) -> None:
    """Sends the hold-out under each policy, and prints the what-if curve and what happened."""
    curve = work.policy({"larger_model": larger, "min_confidence": 0.0})["what_if"]
    limit = min(curve, key=lambda point: abs(point["rest"] - work.job.rest))["limit"]
    person = "escalate" if work.job.actions else "a person"
    policies: dict[str, Policy] = {f"under {limit:.3f}: {person}": {"larger_model": None, "min_confidence": limit}}
    if larger is not None:
        policies[f"under {limit:.3f}: larger model"] = {"larger_model": larger, "min_confidence": limit}
        policies["larger model answers all"] = {"larger_model": larger, "min_confidence": 1.0}
    policies |= {name: {"larger_model": larger, **values} for name, values in work.job.budgets.items()}
    lines = [_policy_line(work, "as deployed", first, None, None)]
    confusions = [_confusion(work, "as deployed", first)]
    for name, values in policies.items():
        state = work.policy({"budget_wrong": None, **values})
        label = f"{'openai' if work.job.choice else 'extract'} {time.time():.0f}"
        replies = send(work, caller, label)
        lines.append(_policy_line(work, name, replies, state, label))
        if "budget_wrong" not in values:
            confusions.append(_confusion(work, name, replies))
    heads = (
        "policy", "limit", "rest: expected", "was", "exact: expected", "was", "automatic and wrong",
        "cost of 1,000: expected", "was", "p50 ms", "p95 ms",
    )  # fmt: skip
    print(table("Answer policies, on the hold-out; people are taken to be right", heads, lines))
    print("\n".join(confusions))


def _policy_line(
    work: Work, name: str, replies: list[Reply], state: dict[str, Any] | None, label: str | None
) -> tuple[str, ...]:
    """``state``: the policy as REST has it, with its what-if curve; ``label``: the caller in the request log."""
    automatic = [not (one.needs_review or one.by_fallback) for one in replies]
    exact = [Accuracy.of(work.schema, [row], [one.raw]).exact == 1 for row, one in zip(work.rows, replies, strict=True)]
    right = sum(ok or one.needs_review for ok, one in zip(exact, replies, strict=True)) / len(replies)
    times = [one.milliseconds for one in replies]
    kept = [(row, one) for row, one, yes in zip(work.rows, replies, automatic, strict=True) if yes]
    found = Accuracy.of(work.schema, [row for row, _ in kept], [one.raw for _, one in kept])
    wrong = f"{found.documents - found.exact} of {found.documents}"
    if state is not None and state["budget_wrong"] is not None and state["budget_unit"] == "field":
        wrong = f"{found.fields - found.correct} of {found.fields} fields"
    limit, rest, expected, cost, paid = "–", "–", "–", "–", "–"
    if state is not None and label is not None:
        at = state["min_confidence"] if state["budget_wrong"] is None else state["limit"]
        limit = "none" if at is None else f"{at:.3f}"
        point = min(state["what_if"], key=lambda one: abs(one["limit"] - (1.0 if at is None else at)))
        rest = f"{point['rest']:.1%}"
        expected = f"{point['accuracy']:.1%} ({100 * point['low']:.1f} to {100 * point['high']:.1f})"
        cost = "–" if point["cost"] is None else f"{point['cost']:.3f}"
        paid = _paid(work, label, len(replies))
    return (
        name, limit, rest, f"{1 - sum(automatic) / len(automatic):.1%}", expected, f"{right:.1%}", wrong, cost, paid,
        f"{percentile(times, 0.5):.0f}", f"{percentile(times, 0.95):.0f}",
    )  # fmt: skip


def _paid(work: Work, label: str, number: int) -> str:
    """The cost of a thousand requests by the request log, which has to have all of them."""
    from serving.models import RequestLog

    rows = RequestLog.objects.filter(project_id=work.project.pk, caller=label)
    deadline = time.monotonic() + 30
    while rows.count() < number:
        if time.monotonic() > deadline:
            raise SystemExit(f"The request log has {rows.count()} of {number} requests.")
        time.sleep(0.5)
    costs = [one for one in rows.values_list("cost", flat=True) if one is not None]
    return f"{1_000 * sum(costs) / number:.3f}" if costs else "–"


def _confusion(work: Work, name: str, replies: list[Reply]) -> str:
    """Actions by the classes: rows are those of gold. What needs a person is escalated."""
    if work.job.actions is None:
        return ""
    by_action = json.loads(work.job.actions.read_text(encoding="utf-8"))
    action_of = {one: action for action, classes in by_action.items() for one in classes}
    counts: Counter[tuple[str, str]] = Counter()
    for row, one in zip(work.rows, replies, strict=True):
        decided = action_of[loads(one.raw)[work.job.choice]] if one.raw and not one.needs_review else "escalate"
        counts[action_of[row.gold[work.job.choice]], decided] += 1
    lines = [(action, *(str(counts[action, decided]) for decided in by_action)) for action in by_action]
    return table(f"Actions, {name}: right in rows, decided in columns", ("", *by_action), lines)

"""Whatever a model writes or an endpoint does is an outcome of its document or a sentence, never a lost run."""

import json
from pathlib import Path
from typing import Any

from django.test import Client
from django.urls import reverse

from evaluation.inference.completion import STATUS_LABELS
from evaluation.inference.completion import ResponseStatus as S
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import outputs, summary
from evaluation.runs.jobs import run_evaluation
from labeling.datasets import queries as dataset_queries
from slmstudio.contract.json_text import dumps
from slmstudio.runs.models import Status
from tests.evaluation import fake_openai as fakes
from tests.evaluation.factories import World, endpoint, evaluated, make_world
from tests.evaluation.fake_openai import Fake, Reply, error, says, sends
from tests.evaluation.runs.test_external_model import start
from tests.shared_rows import shared_fixture

RAW = {
    "empty": "",
    "prose": "I am sorry, I cannot do that.",
    "cut": '{"invoice_id": "A-1", "vend',
    "big": '{"invoice_id": "' + "x" * 1_000_000 + '"}',
    "twice": '{"invoice_id": "A-1", "invoice_id": "B-2"}',
    "nan": '{"total_amount": NaN}',
    "infinite": '{"total_amount": 1e400}',
    "long number": '{"total_amount": ' + "9" * 5000 + "}",
    "deep": "[" * 100_000 + "]" * 100_000,
    "markup": "```json\n{}\n```",
    "script": '<script>alert("x")</script>',
    "list": '[{"invoice_id": "A-1"}]',
    "nul": '{"invoice_id": "A\0"}',
    "escaped nul": '{"invoice_id": "A\\u0000"}',
    "half a pair": '{"invoice_id": "\\ud800"}',
    "raw half": '{"invoice_id": "\ud800"}',
    "odd spaces": '\u00a0{"invoice_id":\u2028"A-1"}\ufeff',
    "wrong types": '{"invoice_id": 7, "date": {}, "vendor": [], "total_amount": "much"}',
    "others": '{"__proto__": {"x": 1}, "constructor": null}',
}


@shared_fixture
def world(db: None, queues: None, tmp_path: Path) -> World:
    """With a document for each bad output."""
    return make_world(tmp_path, documents=70)


def test_anything_a_model_writes_is_scored_and_shown(world: World, client: Client) -> None:
    ids = [row["id"] for row in dataset_queries.rows(world.dataset, "train")]
    raw_of = dict(zip(ids, RAW, strict=False))
    assert len(raw_of) == len(RAW) < len(ids)

    def say(row: dict[str, Any]) -> dict[str, Any]:
        return {"raw": RAW[raw_of[row["id"]]] if row["id"] in raw_of else dumps(row["gold"])}

    run = evaluated(world, say, split="train")
    assert (run.status, run.error) == (Status.DONE, "")
    total = run.progress_total
    assert run.scores["documents"] == total
    assert run.scores["field_exact"]["n"] >= 4 * total, "it stays in every denominator"
    assert run.scores["document_exact"]["k"] == total - len(RAW)
    assert outputs.rows_match_file(run)
    assert summary.recompute_summary(run) == run.scores
    client.force_login(world.engineer)
    for row in run.outputs.filter(document__external_id__in=raw_of):
        assert (row.exact, row.state in ("invalid", "valid")) == (False, True)
        page = client.get(reverse("eval_output", args=[world.project.slug, run.number, row.document_id]))
        assert page.status_code == 200
        assert len(page.content) < 3_100_000
        assert b"<script>alert" not in page.content
    assert client.get(reverse("eval_run", args=[world.project.slug, run.number])).status_code == 200


# -- endpoints -----------------------------------------------------------------------------------------------------


#: one of each kind; tests/evaluation/inference/test_openai_client.py has them all
BAD: dict[str, tuple[Reply, str, S | None]] = {
    "hangs": (fakes.hangs, "error", S.TIMEOUT),
    "500": (error(500, "boom"), "error", S.BUSY),
    "too long": (error(400, "maximum context length is 8"), "error", S.TOO_LONG),
    "html": (sends(b"<html>hello</html>", kind="text/html"), "error", S.WEB_PAGE),
    "half a pair": (says('{"invoice_id": "\ud800"}'), "stop", None),
    "nul": (says("\0"), "stop", None),
    "cut off": (says('{"invoice_id": "A', finish="length"), "length", None),
    "filtered": (says("x", finish="content_filter"), "error", S.DECLINED),
}


def test_whatever_an_endpoint_does_is_the_outcome_of_its_document(world: World, fake: Fake) -> None:
    """Every second document gets a bad reply, all others their gold: failures in a row would end the run."""
    rows = list(dataset_queries.rows(world.dataset, "train"))
    bad = {row["text"]: name for row, name in zip(rows[::2], BAD, strict=False)}
    assert len(bad) == len(BAD)
    gold = {row["text"]: dumps(row["gold"]) for row in rows}

    def knows(handler: Any, body: dict[str, Any]) -> None:
        text = body["messages"][-1]["content"]
        (BAD[bad[text]][0] if text in bad else says(gold[text]))(handler, body)

    fake.replies = [knows]
    run = start(world, endpoint(world, fake.url, timeout_seconds=1), mode="free")
    run_evaluation(run.pk)
    run = EvalRun.objects.get(pk=run.pk)
    assert (run.status, run.error) == (Status.DONE, "")
    exact = run.scores["document_exact"]
    assert (exact["k"], exact["n"]) == (run.progress_total - len(BAD), run.progress_total)
    for row in run.outputs.select_related("document").filter(document__text__in=bad):
        _, finish, status = BAD[bad[row.document.text]]
        assert row.finish_reason == finish, row.document.text
        assert row.error.startswith(STATUS_LABELS[status]) if status else row.error == ""
    assert outputs.rows_match_file(run)


def test_an_endpoint_that_only_fails_ends_the_run_with_a_sentence(world: World, fake: Fake) -> None:
    fake.replies = [sends(b"<html>", kind="text/html")]
    run = start(world, endpoint(world, fake.url), mode="free")
    run_evaluation(run.pk)
    run = EvalRun.objects.get(pk=run.pk)
    assert run.status == Status.FAILED
    assert "failed 5 times in a row" in run.error
    assert EvalOutput.objects.filter(eval_run=run).count() == 5, "what was found out is kept"
    assert json.loads(dumps(run.facts))["attempts"] == 1

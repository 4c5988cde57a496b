"""``manage.py benchmark``: what it prints and writes, and how it ends."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from evaluation.management.commands import benchmark as command
from evaluation.models import Benchmark, EvalRun
from evaluation.runs import services as run_services
from labeling.datasets import queries as dataset_queries
from slmstudio.runs.models import Status
from tests.evaluation.benchmark_desk import another_model, answered
from tests.evaluation.factories import World, pretend, right

Work = Callable[[EvalRun], object]


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    """``worked(do)``: a worker that does this with each run that waits, one at a time."""

    class Worker:
        def __init__(self, do: Work) -> None:
            self.do = do

        def wait(self) -> None:
            run: Any = EvalRun.objects.live().order_by("number").first()
            if run is not None:
                self.do(run)

    def install(do: Work) -> None:
        @contextmanager
        def working(queues: list[str], *, say: Any) -> Iterator[Worker]:
            assert queues == ["gpu"]
            yield Worker(do)

        monkeypatch.setattr(command, "ensure_workers", working)

    return install


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("benchmark", "invoices", "--documents", "20", *arguments, stdout=out)
    return out.getvalue()


def test_it_prints_a_line_for_each_and_writes_the_report(
    wide: World, worked: Callable[[Work], None], tmp_path: Path
) -> None:
    another_model(tmp_path)
    worked(lambda one: answered(one, right if "Larger" in one.model_label else pretend(1, spoil=0.8)))
    report = tmp_path / "reports" / "benchmark.json"
    said = run("--models", "small-base,larger-base", "--modes", "free", "--json", str(report))
    assert "Larger base 20M, unconstrained" in said
    assert "fields 100%" in said
    assert "Larger base 20M, unconstrained: best field accuracy within 16 GB" in said
    written = json.loads(report.read_text())
    assert (len(written["documents"]), written["status"]) == (20, "done")
    assert [(row["model"], row["mode"]) for row in written["runs"]] == [
        ("Small base 10M", "free"), ("Larger base 20M", "free"),
    ]  # fmt: skip
    assert written["runs"][1]["field_exact"]["rate"] == 1
    assert written["runs"][1]["field_exact"]["low"] < 0.85, "20 documents without an error, not 80 fields"
    assert written["recommendation"]["separable"] is True


def test_it_ends_with_3_where_a_model_could_not_be_measured(
    wide: World, worked: Callable[[Work], None], tmp_path: Path
) -> None:
    another_model(tmp_path)

    def work(one: EvalRun) -> None:
        if one.base_model == wide.base_model:
            one.fail("The weights have gone.")
            run_services.evaluation_ended.call(one)
        else:
            answered(one, right)

    worked(work)
    with pytest.raises(SystemExit) as ended:
        run("--models", "small-base,larger-base", "--modes", "constrained")
    assert ended.value.code == 3


def test_it_ends_with_1_where_none_was_measured(wide: World, worked: Callable[[Work], None]) -> None:
    worked(lambda one: one.fail("The weights have gone."))
    with pytest.raises(CommandError, match="No model was measured: The weights have gone") as ended:
        run("--models", "small-base")
    assert ended.value.returncode == 1


def test_missing_dataset_file_is_reported(wide: World) -> None:
    dataset_queries.file_path(wide.dataset).unlink()
    with pytest.raises(CommandError, match="The file of dataset v1 is missing"):
        run("--models", "small-base")


def test_a_model_that_is_not_known_is_named_with_those_that_are(wide: World) -> None:
    with pytest.raises(CommandError, match=r"Unknown model 'nobody'. Known models: .*small-base.*version-1"):
        run("--models", "nobody")
    with pytest.raises(CommandError, match="Project 'elsewhere' not found"):
        call_command("benchmark", "elsewhere", "--models", "small-base")
    assert not Benchmark.objects.exists()


def test_a_command_that_is_stopped_cancels_what_it_started(wide: World, worked: Callable[[Work], None]) -> None:
    def work(one: EvalRun) -> None:
        raise KeyboardInterrupt

    worked(work)
    with pytest.raises(KeyboardInterrupt):
        run("--models", "small-base")
    assert Benchmark.objects.get().status == Status.CANCELLED
    assert not EvalRun.objects.live().exists()

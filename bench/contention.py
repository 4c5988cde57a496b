"""Training and generation under CPU contention: ``python -m bench.contention [--rounds N] [--all] [--json FILE]``.

SmolLM2 135M trains a few steps and generates outputs for a few receipts, each in the child process and the environment
of a worker: alone, next to one busy process (a plain Python loop), and next to two (that loop, and an OpenMP program
whose idle thread spins). The busy processes are stopped and continued by signals, so that they run only while the child
works. ``now`` is the environment of a worker's child, ``before`` the one in which threads always spin. ``before`` is
measured alone; with ``--all`` also next to the others.

Reports seconds (median of the rounds, without the first step and the first document), and the ratio to the time alone.
The exit code is 1 where training or generation takes more than 2.0 times as long next to one busy process or 2.5 times
next to two, or where it is more than a tenth slower than ``before`` on an idle machine.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.harness import RECEIPTS, ROOT, child_events, prepared, receipts, table, write_dataset
from evaluation.inference.spec import DocumentsRef, EvalSpec
from labeling.demo.templates import template
from slmstudio.runs.child_environment import cpu_settings
from training.spec import ContractRef, DatasetRef, ModelRef, RunSpec

#: most times as long as alone, by the number of busy processes
LIMITS = {1: 2.0, 2: 2.5}
#: most of what an idle machine may lose
MOST_LOST = 0.10
MODEL = "smollm2-135m-instruct"
STEPS = 4
DOCUMENTS = 5
NEW_TOKENS = 48
CONTENDERS = {
    "now": dict(cpu_settings()),
    "before": {**cpu_settings(), "OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "300000"},
}
_TIED = "from slmstudio.runs.parent_death import die_with_parent; die_with_parent()\n"
_LOOP = "while True: pass"
# The second thread of a team waits for the next parallel region: it spins for as long as the first one sleeps.
_SPINNER = """
import time, torch
torch.set_num_threads(2)
numbers = torch.ones(1 << 20)
while True:
    numbers + numbers
    time.sleep(0.05)
"""
_SPINS = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "infinite", "OMP_NUM_THREADS": "2"}


class Cell(NamedTuple):
    """What is measured: the work, the contender, the number of busy processes next to it."""

    work: str
    contender: str
    busy: int


def main() -> int:
    """Measures in rounds and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receipts", type=Path, default=RECEIPTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", choices=("training", "generation"), action="append", help="default: both")
    parser.add_argument("--all", action="store_true", help="also measure the previous setting next to busy processes")
    parser.add_argument("--home", type=Path, help="keeps the prepared model here (default: thrown away)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    works = tuple(options.work or ("training", "generation"))
    cells = [Cell(work, name, busy) for busy in (0, 1, 2) for work in works for name in CONTENDERS]
    cells = [cell for cell in cells if cell.contender != "before" or cell.busy == 0 or options.all]
    measured: dict[Cell, list[float]] = {cell: [] for cell in cells}
    with tempfile.TemporaryDirectory() as temporary, busy_processes() as others:
        bench = Bench(options.home or Path(temporary), Path(temporary), options.receipts)
        for turn in range(options.rounds):
            for cell in cells:
                measured[cell].append(bench.measure(cell, others))
                print(f"round {turn + 1}: {cell} {measured[cell][-1]}", file=sys.stderr, flush=True)
    seconds = {cell: statistics.median(many) for cell, many in measured.items()}
    print(_table(seconds))
    failures = broken(seconds)
    for failure in failures:
        print(failure)
    if options.json:
        rows = [{**cell._asdict(), "seconds": many} for cell, many in measured.items()]
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 1 if failures else 0


def broken(seconds: dict[Cell, float]) -> list[str]:
    """A sentence for each limit that is exceeded. ``seconds``: those of each cell."""
    sentences = []
    for work in sorted({cell.work for cell in seconds}):
        alone = seconds[Cell(work, "now", 0)]
        for busy, limit in LIMITS.items():
            times = seconds[Cell(work, "now", busy)] / alone
            if times > limit:
                sentences.append(f"{work}: {times:.2f} times as long next to {busy} as alone, more than {limit}")
        lost = alone / seconds[Cell(work, "before", 0)] - 1
        if lost > MOST_LOST:
            sentences.append(f"{work}: {100 * lost:.0f}% slower on an idle machine, more than {100 * MOST_LOST:.0f}%")
    return sentences


def _table(seconds: dict[Cell, float]) -> str:
    rows = []
    for work, name in dict.fromkeys((cell.work, cell.contender) for cell in seconds):
        alone = seconds[Cell(work, name, 0)]
        contended = [seconds.get(Cell(work, name, busy)) for busy in LIMITS]
        row = [f"{work}, {name}", f"{alone:.2f} s"]
        rows.append(row + [f"{took:.2f} s, {took / alone:.2f} times" if took else "" for took in contended])
    return table("Shared cores", ["", "alone", "next to one", "next to two"], rows)


@contextmanager
def busy_processes() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """A Python loop and a spinning OpenMP program, both stopped. They are killed in the end."""
    commands: list[tuple[str, dict[str, str]]] = [(_LOOP, {}), (_SPINNER, _SPINS)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _TIED + text],
            cwd=ROOT,
            env={**os.environ, **more},
            start_new_session=True,
        )
        for text, more in commands
    ]
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def running(processes: Sequence["subprocess.Popen[bytes]"]) -> Iterator[None]:
    """These stopped processes go on for as long as the block."""
    for process in processes:
        process.send_signal(signal.SIGCONT)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGSTOP)


class Bench:
    """A prepared model and a dataset of receipts."""

    def __init__(self, home: Path, work: Path, file: Path) -> None:
        receipt = template("receipt")
        self._model = ModelRef(path=str(prepared(MODEL, home)))
        self._contract = ContractRef(instruction=receipt.instruction, schema=receipt.schema)
        self._work = work
        self._dataset = work / "receipts.jsonl"
        short = [row for row in receipts(file) if len(row["text"]) < 900]
        write_dataset(self._dataset, {"train": short[: 2 * STEPS], "holdout": short[2 * STEPS : 2 * STEPS + DOCUMENTS]})

    def measure(self, cell: Cell, others: Sequence["subprocess.Popen[bytes]"]) -> float:
        """The work of a cell next to the first ``cell.busy`` of the ``others``, which run from ``start`` on."""
        output = self._work / "output"
        module, text = self._training(output) if cell.work == "training" else self._generation(output)
        path = self._work / f"{cell.work}.yaml"
        path.write_text(text, encoding="utf-8")
        counted: list[float] = []
        tokens = 0
        with ExitStack() as stack:
            for event in child_events(module, str(path), CONTENDERS[cell.contender]):
                if event["event"] == "start":
                    stack.enter_context(running(others[: cell.busy]))
                elif event["event"] == "metrics":
                    counted.append((event["tokens"] - tokens) / event["tokens_per_second"])
                    tokens = event["tokens"]
                elif event["event"] == "output":
                    counted.append(event["latency_ms"] / 1000)
        return sum(counted[1:])

    def _training(self, output: Path) -> tuple[str, str]:
        spec = RunSpec(
            base_model=self._model,
            dataset=DatasetRef(path=str(self._dataset)),
            contract=self._contract,
            output_dir=str(output),
            batch_size=2,
            max_steps=STEPS,
            sample_documents=0,
            too_long="leave_out",
        )
        return "training.ml.train", spec.to_yaml()

    def _generation(self, output: Path) -> tuple[str, str]:
        spec = EvalSpec(
            model=self._model,
            contract=self._contract,
            documents=DocumentsRef(path=str(self._dataset), split="holdout"),
            outputs=str(output.with_suffix(".jsonl")),
            max_new_tokens=NEW_TOKENS,
        )
        return "evaluation.ml.generate", spec.to_yaml()


if __name__ == "__main__":
    sys.exit(main())

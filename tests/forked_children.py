"""Child processes of jobs, forked where torch is loaded: to import it takes longer than what most tests have it do.

A job supervises a forked process as it does one that it starts.
"""

import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any

from slmstudio.workers.worker import StudioWorker

WORKER = ("--worker-class", "tests.forked_children.ForkingWorker")
#: the command of the application, with these workers
COMMAND = (sys.executable, "-c", f"import sys; from slmstudio.__main__ import main; sys.argv += {WORKER}; main()")
#: children of jobs; a replica is to run as it does in production, without torch where it can
_FORKED = ("training.ml.", "evaluation.ml.", "serving.ml.pack")
_MODULES = ("training.ml.train", "evaluation.ml.generate", "evaluation.ml.answer_encoder")


def load() -> None:
    """Loads torch and what else children use."""
    for module in _MODULES:
        import_module(module)


class ForkedChild(subprocess.Popen[bytes]):
    """``Popen``; the child of a job runs in the fork, and nothing is executed."""

    def __init__(self, args: Sequence[str], **options: Any) -> None:
        if args[1:2] == ["-m"] and args[2].startswith(_FORKED):
            kept = (0, 1, 2, *options.get("pass_fds", ()))
            options["preexec_fn"] = partial(_run, args[2:], options.get("env") or os.environ, kept)
        super().__init__(args, **options)


def _run(arguments: Sequence[str], environment: Mapping[str, str], kept: Sequence[int]) -> None:
    """What ``python -m`` does in a new process. Does not return."""
    for before, after in pairwise([*sorted(kept), os.sysconf("SC_OPEN_MAX")]):
        os.closerange(before + 1, after)  # also that which tells the parent of an error before the execution
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ |= environment
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = [*arguments]
    sys.modules.pop(arguments[0], None)
    code: Any = 0
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        os._exit(code)


class ForkingWorker(StudioWorker):
    """A worker whose jobs fork their children, and is the real one in everything else."""

    def fork_work_horse(self, job: Any, queue: Any) -> None:
        if queue.name == "gpu":
            load()
        super().fork_work_horse(job, queue)

    def main_work_horse(self, job: Any, queue: Any) -> None:
        """Only the job's own process forks them."""
        subprocess.Popen = ForkedChild  # type: ignore[assignment, misc]
        super().main_work_horse(job, queue)

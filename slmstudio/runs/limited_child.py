"""Child processes that parse untrusted text: with limits of processor time and memory, and without secrets.

A program calls ``serve``; ``LimitedChild`` is its other end. A request and its answer are one line each. An idle child
answers the next request, so that one takes milliseconds; without a request for some time it ends.
"""

import logging
import os
import resource
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from slmstudio.runs.child_environment import child_environment

logger = logging.getLogger(__name__)

#: for one request
CPU_SECONDS: Final = 20.0
MEMORY_BYTES: Final = 1024**3
#: until an answer, on a machine that does other work too
_ANSWER_SECONDS: Final = 180.0
#: without a request, after which a child ends
_IDLE_SECONDS: Final = 300.0
_ROOT = Path(__file__).resolve().parents[2]
_ANSWER, _MEMORY, _FAILED = b"=", b"m", b"x"


class LimitError(Exception):
    """A request took too much ``what``, or the child failed."""

    def __init__(self, what: Literal["time", "memory", "failed"]) -> None:
        super().__init__(what)
        self.what = what


# -- in the parent process ---------------------------------------------------------------------------------------------


class LimitedChild:
    """The children that run ``python -m module``, one for each request at a time; one idle child is kept."""

    def __init__(self, module: str, *, cpu_seconds: float = CPU_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._command = [sys.executable, "-m", module, str(cpu_seconds), str(memory_bytes)]
        self._lock = threading.Lock()
        self._idle: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def ask(self, request: str) -> str:
        """The answer of a child.

        Raises:
            LimitError: it took too much time or memory, or failed.
        """
        line = request.encode("utf-8", "surrogatepass") + b"\n"
        child = self._take()
        answer = None if child is None else _exchange(child, line)
        if child is None or (answer is None and child.returncode == 0):  # the idle one had ended
            child = self._start()
            answer = _exchange(child, line)
        if answer is None:
            raise LimitError("time" if child.returncode in (-signal.SIGPROF, -signal.SIGKILL) else "failed")
        if answer[:1] == _ANSWER:
            self._keep(child)
            return answer[1:].decode("utf-8", "surrogatepass")
        _end(child)
        if answer[:1] == _FAILED:
            logger.error("a child process failed: %s", answer[1:].decode(errors="replace"))
        raise LimitError("memory" if answer[:1] == _MEMORY else "failed")

    def close(self) -> None:
        """Ends the idle child."""
        child = self._take()
        if child is not None:
            _end(child)

    def _take(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            child, self._idle = self._idle, None
            # Of a fork: the child answers to the other process.
            is_own, self._owner = self._owner == os.getpid(), os.getpid()
            return child if is_own else None

    def _keep(self, child: "subprocess.Popen[bytes]") -> None:
        with self._lock:
            if self._idle is None:
                self._idle = child
                return
        _end(child)

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            env={**child_environment(), "MALLOC_ARENA_MAX": "2"},
            start_new_session=True,
        )


def _exchange(child: "subprocess.Popen[bytes]", line: bytes) -> bytes | None:
    """The answer to a request; None where there is none: the child has ended then."""
    assert child.stdin is not None
    assert child.stdout is not None
    until = time.monotonic() + _ANSWER_SECONDS
    pieces: list[bytes] = []
    try:
        child.stdin.write(line)
        child.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while selector.select(timeout=max(0.0, until - time.monotonic())):
                piece = os.read(child.stdout.fileno(), 1 << 18)
                pieces.append(piece)
                if piece.endswith(b"\n"):
                    return b"".join(pieces).removesuffix(b"\n")
                if not piece:
                    break
    except BrokenPipeError:
        pass
    except BaseException:
        child.kill()
        _end(child)
        raise
    _end(child)
    return None


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Ends a child: an idle one by closing its pipes, any other by force."""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                pass
    try:
        child.wait(1.0)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


# -- in the child process ----------------------------------------------------------------------------------------------


def serve(answer: Callable[[str], str]) -> None:
    """Answers requests, each within the limits of the command line, until there are no more."""
    cpu_seconds, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with os.fdopen(os.dup(0), "rb") as requests, os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # output of libraries goes to standard error
        while select.select([requests], [], [], _IDLE_SECONDS)[0] and (line := requests.readline()):
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # its signal ends the process
            reply = _reply(answer, line)
            signal.setitimer(signal.ITIMER_PROF, 0)
            answers.write(reply + b"\n")
            answers.flush()


def _reply(answer: Callable[[str], str], line: bytes) -> bytes:
    try:
        return _ANSWER + answer(line.removesuffix(b"\n").decode("utf-8", "surrogatepass")).encode(
            "utf-8", "surrogatepass"
        )
    except MemoryError:
        return _MEMORY
    except Exception as error:
        # Where it failed, without the message, which may quote the text.
        places = traceback.extract_tb(error.__traceback__)
        where = " > ".join(f"{Path(place.filename).name}:{place.lineno}" for place in places)
        return _FAILED + f"{type(error).__name__} at {where}".encode()

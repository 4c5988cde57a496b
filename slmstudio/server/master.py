"""The processes of the web server: a parent that listens and restarts the others, which accept on the same socket."""

import logging
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, NoReturn, Protocol

from slmstudio.database.migrated import MigrationsMissing, require_migrated
from slmstudio.runs.parent_death import die_with_parent

logger = logging.getLogger(__name__)
#: bytes of the largest body that is ever read; the application admits less almost everywhere
MAX_BODY = 2 * 1024**3 + 2**22
#: bytes of one response that may be buffered in a temporary file; a thread that writes more waits for the client
MAX_BUFFERED = 64 * 1024**3
#: files that a process may open
_MAX_FILES = 65_536


def listen(bind: str) -> socket.socket:
    """A socket that listens on ``HOST:PORT`` or ``unix:PATH``.

    Raises:
        OSError: it cannot; ValueError: the address is invalid.
    """
    if bind.startswith("unix:"):
        path = bind.removeprefix("unix:")
        if os.path.exists(path):
            os.unlink(path)
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(path)
        os.chmod(path, 0o660)  # a proxy of the same group
        unix.listen(1024)
        return unix
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("it must be HOST:PORT or unix:PATH")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=1024)


class Master:
    """Starts the serving processes, restarts one that ended, and stops all of them in order."""

    def __init__(
        self, listener: socket.socket, *, workers: int, threads: int, connections: int, stop_seconds: float
    ) -> None:
        self.listener = listener
        self.workers = workers
        self.threads = threads
        self.connections = connections
        self.stop_seconds = stop_seconds
        self._ready: dict[int, int] = {}  # process -> the pipe that it closes when it serves
        self._stopping = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT (0), or until a process cannot even start (1)."""
        os.umask(0o077)
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        children = {self._fork() for _ in range(self.workers)}
        code = 0
        try:
            while not self._stopping:
                select.select([reader], [], [], 1.0)
                while select.select([reader], [], [], 0)[0]:
                    reader.recv(4096)
                for pid in _ended(children):
                    children.discard(pid)
                    if not self._served(pid):
                        code, self._stopping = 1, True
                    elif not self._stopping:
                        print(f"A process of the web server ended ({pid}); another one starts.", file=sys.stderr)
                        time.sleep(0.5)
                        children.add(self._fork())
        finally:
            self.listener.close()
            self._end(children)
        return code

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _served(self, pid: int) -> bool:
        """Whether an ended process had started to serve."""
        pipe = self._ready.pop(pid)
        with os.fdopen(pipe, "rb") as ready:
            return bool(ready.read(1))

    def _end(self, children: set[int]) -> None:
        for pid in children:
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + self.stop_seconds + 2.0
        while children and time.monotonic() < deadline:
            children -= set(_ended(children))
            time.sleep(0.02)
        for pid in children:
            _signal(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _fork(self) -> int:
        parent = os.getpid()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            self._ready[pid] = reader
            return pid
        try:
            os.close(reader)
            self._serve(parent, lambda: os.write(writer, b"1"))
        except SystemExit:
            os._exit(0)
        except MigrationsMissing as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        except BaseException:
            logging.exception("the web server cannot start")
            os._exit(1)

    def _serve(self, parent: int, ready: Callable[[], object]) -> NoReturn:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches every process; the parent forwards it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with_parent(parent, by=signal.SIGTERM)
        raise_open_files_limit()
        # The I/O thread has little to do, and every client waits for it: with the default 5 ms for each busy thread,
        # fifty concurrent users would wait several times as long.
        sys.setswitchinterval(0.0005)
        from slmstudio.wsgi import application

        require_migrated()
        server = make_server(application, listener=self.listener, threads=self.threads, connections=self.connections)

        def stop(number: int, frame: FrameType | None) -> None:
            server.stopping = True
            server.pull_trigger()

        signal.signal(signal.SIGTERM, stop)
        ready()
        serve(server, stop_seconds=self.stop_seconds)
        logging.shutdown()
        os._exit(0)  # threads that are still busy are not waited for


def make_server(
    application: Any, *, listener: socket.socket, threads: int, connections: int, limits: Any = None
) -> Any:
    """A waitress server on a socket that already listens."""
    from waitress.adjustments import Adjustments

    from slmstudio.server.connection import Limits, TcpServer, UnixServer

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # queued requests are normal here
    kind = UnixServer if listener.family == socket.AF_UNIX else TcpServer
    adjustments = Adjustments(
        sockets=[listener],
        threads=threads,
        connection_limit=connections,
        asyncore_use_poll=True,
        cleanup_interval=1,
        max_request_header_size=65_536,
        max_request_body_size=MAX_BODY,
        outbuf_high_watermark=MAX_BUFFERED,
        recv_bytes=65_536,
        # Data of slow transfers is in files, so that a thousand slow clients do not take gigabytes of memory.
        inbuf_overflow=65_536,
        outbuf_overflow=262_144,
        # The application evaluates proxy headers: TRUSTED_PROXIES, HTTPS.
        clear_untrusted_proxy_headers=False,
        log_socket_errors=False,
        ident=None,
    )
    server = kind(
        application,
        {},
        True,
        listener,
        dispatcher=Threads(threads),
        adj=adjustments,
        bind_socket=False,
        sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
    )
    server.limits = limits or Limits()
    return server


def serve(server: Any, *, stop_seconds: float, check_seconds: float = 1.0) -> None:
    """Serves until ``server.stopping``; then accepts no more, and finishes open requests within ``stop_seconds``.

    Time-outs are checked every ``check_seconds``.
    """
    from waitress import wasyncore

    while not server.stopping:
        wasyncore.loop(timeout=check_seconds, use_poll=True, map=server._map, count=1)
    server.accepting = False
    server.del_channel()
    deadline = time.monotonic() + stop_seconds
    while server.busy() and time.monotonic() < deadline:
        wasyncore.loop(timeout=0.1, use_poll=True, map=server._map, count=1)
    server.task_dispatcher.shutdown()


class Task(Protocol):
    """A unit of work that waitress passes to a thread."""

    def service(self) -> None: ...


class Threads:
    """Replaces waitress's dispatcher, which starts all threads immediately and uses them in turn.

    Here a thread is started only if all others are busy: each has its own database connection with its prepared
    statements, so a quiet server is faster with few.
    """

    def __init__(self, limit: int) -> None:
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix="web")

    def add_task(self, task: Task) -> None:
        """Runs a task as soon as a thread is free."""
        self._pool.submit(_run, task)

    def shutdown(self) -> None:
        """Starts no more tasks. Running ones continue."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _run(task: Task) -> None:
    try:
        task.service()
    except BaseException:
        logger.exception("a request broke its connection")


def raise_open_files_limit() -> None:
    """Raises the limit of this process, and of those that it starts, as far as it may: a connection is a file, and the
    default of 1,024 is less than servers accept.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < raised:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))


def open_files_limit() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_FILES if soft == resource.RLIM_INFINITY else soft


def _ended(children: set[int]) -> list[int]:
    """The children that have ended."""
    ended = []
    for pid in children:
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            done = pid
        if done:
            ended.append(pid)
    return ended


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass

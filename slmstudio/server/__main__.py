"""``python -m slmstudio.server``: serves the application until SIGTERM or Ctrl+C; ``--help`` lists the options."""

import argparse
import os
import sys

from slmstudio.accounts.secret_keys import require_strong_keys
from slmstudio.env import EnvError
from slmstudio.server import master


def main() -> int:
    """Parses the command line and serves; the exit code is 0 after a signal, 1 if it cannot start."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(prog="python -m slmstudio.server", description="The web server of SLM Studio.")
    parser.add_argument("--bind", default="127.0.0.1:8000", help="HOST:PORT or unix:PATH (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=min(8, max(2, cores)), help="processes (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=4, help="threads of each process (default: %(default)s)")
    parser.add_argument(
        "--connections", type=int, default=1000, help="open connections of each process (default: %(default)s)"
    )
    parser.add_argument(
        "--stop-seconds", type=float, default=4.0, help="to finish requests when stopped (default: %(default)s)"
    )
    options = parser.parse_args()
    if options.workers < 1 or options.threads < 1 or options.connections < 1:
        parser.error("--workers, --threads and --connections are at least 1.")
    try:
        require_strong_keys()
        listener = master.listen(options.bind)
    except EnvError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"Cannot listen on {options.bind}: {error}", file=sys.stderr)
        return 1
    return master.Master(
        listener,
        workers=options.workers,
        threads=options.threads,
        connections=options.connections,
        stop_seconds=options.stop_seconds,
    ).run()


if __name__ == "__main__":
    sys.exit(main())

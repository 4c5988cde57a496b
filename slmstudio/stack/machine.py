"""What this machine has and lacks for the application, as ``slm-studio check`` and the start print it."""

import shutil
import sys

from slmstudio.runs.child_environment import cpu_settings
from slmstudio.stack import environment
from slmstudio.storage import installation
from slmstudio.storage.installation import PROGRAM
from slmstudio.text.formatting import format_bytes
from slmstudio.workers.hardware import this_machine

#: bytes that the demo takes with its models and checkpoints
_DISK = 6_000_000_000
_NAMES = {"postgres": "PostgreSQL", "valkey": "Valkey"}


def packages_for_training() -> list[str]:
    """The Debian packages that are missing here and make training on a CPU faster: the allocator, and what compiles the
    layers of a model (docs/training.md). None where the machine has a GPU.
    """
    if sys.platform != "linux" or not shutil.which("apt-get") or this_machine().gpus:
        return []
    allocator = [] if "LD_PRELOAD" in cpu_settings() else ["libtcmalloc-minimal4"]
    return allocator if shutil.which("g++") else [*allocator, "g++", "python3-dev"]


def report() -> list[str]:
    """What is there and what is missing, a line each; a line with something missing says what to do."""
    gpus = this_machine().gpus
    lines = [f"GPUs: {', '.join(gpu.name for gpu in gpus) or 'none; models are trained and served on the CPU'}"]
    for variable, server in environment.VARIABLES.items():
        where = f"embedded; {variable} is not set" if environment.is_embedded(server) else f"at {variable}"
        lines.append(f"{_NAMES[server]}: {where}")
    lines += [
        f"Missing: the packages of {name}. `{PROGRAM} up` installs them." for name in installation.missing_lists()
    ]
    if packages := packages_for_training():
        lines.append(f"Training on this machine is faster with: apt-get install {' '.join(packages)}")
    home = installation.home()
    folder = next(path for path in (home, *home.parents) if path.is_dir())
    if (free := shutil.disk_usage(folder).free) < _DISK:
        lines.append(f"The disk of {home} has {format_bytes(free)} free; the demo takes {format_bytes(_DISK)}.")
    return lines

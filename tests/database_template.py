"""A data directory of PostgreSQL with the migrated test database, made once and copied by every test process.

It is kept in the user's cache folder under a hash of what it is made from, so that later runs start in seconds. A test
process still calls ``migrate``, which then has nothing to do. Where the cache folder cannot be written, every process
makes its own database.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from slmstudio import stack
from slmstudio.stack import account, environment
from slmstudio.stack.paths import Paths, private_folder

ROOT = Path(__file__).resolve().parent.parent
# How the cluster, its roles and the test database are made; the requirements name the versions.
SOURCES = (
    *("*/migrations/*.py", "requirements*.txt", "slmstudio/stack/postgres.py"),
    *("tests/database.py", "tests/database_template.py"),
)
KEPT = 8


def copy_to(home: Path) -> bool:
    """Copies the template, which is made first if it is missing, to a new SLM_HOME; returns whether it did."""
    places = Paths.of(home)
    who = account.for_data(places.postgres)
    owner = None if who is None else (who.uid, who.gid)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slm-studio" / "test-database"
    template = cache / _key(owner)
    try:
        private_folder(cache)
        private_folder(places.postgres, owner)
        # Locked, so that one process makes it and none removes it during the copy.
        with _locked(template):
            if not template.exists():
                subprocess.run([sys.executable, "-m", __name__, str(template)], cwd=ROOT, check=True)
            os.utime(template)
            _copy(template, places.postgres / "data")
        _remove_old(cache)
    except (OSError, subprocess.CalledProcessError, stack.StackError) as error:
        print(f"No template of the test database: {error}", file=sys.stderr)
        shutil.rmtree(places.postgres / "data", ignore_errors=True)
        return False
    return True


def _key(owner: tuple[int, int] | None) -> str:
    content = hashlib.sha256(repr((owner, os.geteuid(), platform.machine(), sys.version_info[:2])).encode())
    for path in sorted({path for pattern in SOURCES for path in ROOT.glob(pattern)}):
        content.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return content.hexdigest()[:20]


@contextlib.contextmanager
def _locked(template: Path, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    with template.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, kind)
        yield


def _copy(source: Path, target: Path) -> None:
    """A copy with its owner and permissions, which is complete or missing."""
    draft = target.with_name(f"{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    subprocess.run(["cp", "-R", "-p", str(source), str(draft)], check=True)
    draft.rename(target)


def _remove_old(cache: Path) -> None:
    """Deletes all but the KEPT templates used last, except those that a process makes or copies now."""
    templates = sorted((path for path in cache.iterdir() if path.is_dir()), key=lambda path: -path.stat().st_mtime)
    for template in templates[KEPT:]:
        with contextlib.suppress(BlockingIOError), _locked(template, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(template, ignore_errors=True)


def make(template: Path) -> None:
    """Makes the template with a server of its own. Runs in its own process, whose settings it chooses."""
    with tempfile.TemporaryDirectory(prefix="slm-test-", ignore_cleanup_errors=True) as name:
        places = Paths.of(Path(name))
        environment.set_addresses(places, ["postgres"])
        os.environ.pop("DATABASE_OWNER_URL", None)
        os.environ["DJANGO_SETTINGS_MODULE"] = "slmstudio.settings"
        running = stack.start(places.home, ["postgres"])
        try:
            import django
            from django.db import connection

            from tests import database

            database.tune(places)
            django.setup()
            connection.creation.create_test_db(verbosity=0, autoclobber=True)
            connection.close()
        finally:
            stack.stop(running)
        _copy(places.postgres / "data", template)


if __name__ == "__main__":
    make(Path(sys.argv[1]))

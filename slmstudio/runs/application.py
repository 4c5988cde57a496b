"""Which application this is: version, commit, and the packages that it requires.

The commit is the setting ``APPLICATION_COMMIT``, else the file ``COMMIT`` in the folder of the templates (an image and
a wheel have no .git), else that of the git checkout. A checkout with changes that are not committed is marked.
"""

import subprocess
from functools import cache
from pathlib import Path

from django.conf import settings

from slmstudio.storage import installation
from slmstudio.storage.hashing import FileEntry, manifest_hash, sha256_file

#: added to the commit of a checkout with changes
CHANGED = "+changes"
_REQUIREMENTS = ("requirements.txt", "requirements-models.txt", "requirements-converter.txt")
_SOURCES = ("json_text.py", "rules", "schema", "scoring", "values")
_GIT_SECONDS = 10


@cache
def application() -> dict[str, str]:
    """``version``, ``commit`` ("" where it is unknown) and ``requirements``: the hash of the files with the pinned
    packages. Read once per process: the code of a process does not change."""
    root = Path(settings.ASSETS)
    return {
        "version": installation.version(),
        "commit": settings.APPLICATION_COMMIT or _commit(root),
        "requirements": _files_hash(root, [root / name for name in _REQUIREMENTS if (root / name).is_file()]),
    }


@cache
def scorer_code() -> str:
    """SHA-256 over the code that scores: ``slmstudio/contract`` without decoder and translation.

    A change of a comment changes it, too, so it does not replace ``SCORER_VERSION``.
    """
    root = Path(__file__).resolve().parents[1] / "contract"
    paths = [
        path for name in _SOURCES for path in ([root / name] if (root / name).is_file() else _sources(root / name))
    ]
    return _files_hash(root, paths)


def _sources(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".py", ".json")]


def _files_hash(root: Path, files: list[Path]) -> str:
    entries = [
        FileEntry(path=path.relative_to(root).as_posix(), size=path.stat().st_size, sha256=sha256_file(path))
        for path in files
    ]
    return manifest_hash(entries)


def _commit(root: Path) -> str:
    try:
        return (root / "COMMIT").read_text(encoding="utf-8").strip()[:80]
    except (OSError, ValueError):
        pass
    if not (root / ".git").exists():
        return ""
    commit = _git(root, "rev-parse", "HEAD")
    return commit + CHANGED if commit and _git(root, "status", "--porcelain", "--untracked-files=no") else commit


def _git(root: Path, *arguments: str) -> str:
    """The output of a git command, "" where it fails. The checkout may belong to another account."""
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

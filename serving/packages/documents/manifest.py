"""The manifest of a package, its signature, and the verification of both.

``package.json`` lists every other file with its hash, so that a signature of it (``slmstudio.storage.signatures``)
covers the package.
"""

import json
from pathlib import Path
from typing import Any

from serving.models import Package
from slmstudio.errors import Refused
from slmstudio.storage import signatures
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import FileEntry, folder_manifest, manifest_hash

MANIFEST, SIGNATURE = "package.json", "package.json.sig"


def write_manifest(folder: Path, **about: Any) -> None:
    """Writes the manifest of a folder, and signs it where a key is set."""
    files = [entry for entry in folder_manifest(folder) if entry["path"] not in (MANIFEST, SIGNATURE)]
    value = {"version": 1, **about, "sha256": manifest_hash(files), "files": files}
    (folder / MANIFEST).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if signatures.can_sign():
        signatures.sign(folder / MANIFEST, folder / SIGNATURE, what="The package")


def verify_signature(package: Package) -> None:
    """Checks the signature of a package's manifest, and that the manifest lists the files of the package's row.

    The files themselves are compared with that row by the replica. Does nothing where no key is set.

    Raises:
        Refused: (code ``unsigned``, ``signature``, ``manifest``) the package must not be served.
    """
    if not requires_signature():
        return
    folder = local_path(package.folder_key)
    check_signature(folder, str(package))
    listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    recorded = [FileEntry(path=entry["path"], size=entry["size"], sha256=entry["sha256"]) for entry in package.files]
    rest = [entry for entry in recorded if entry["path"] not in (MANIFEST, SIGNATURE)]
    if listed != rest or manifest_hash(recorded) != package.sha256:
        raise Refused(f"The signed manifest of {package} does not list the files that were recorded.", code="manifest")


def requires_signature() -> bool:
    """Whether a key is set, so that unsigned packages are not used."""
    return signatures.has_key()


def check_signature(folder: Path, name: str = "the package") -> None:
    """Checks the signature of the manifest in a folder. ``name``: for the message.

    Raises:
        Refused: (code ``unsigned``, ``signature``) it has none, or not of this key.
    """
    if not (folder / SIGNATURE).is_file() or not (folder / MANIFEST).is_file():
        raise Refused(f"{name.capitalize()} is not signed. Build it again.", code="unsigned")
    signatures.verify(folder / MANIFEST, folder / SIGNATURE, what="the package")

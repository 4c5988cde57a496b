"""The manifest of a package, its signature, and the verification of both.

``package.json`` lists every other file with its hash, so that a signature of it covers the package. The signature is a
Sigstore bundle made with a key (package ``model-signing``); no network is used.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings

from serving.models import Package
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import FileEntry, folder_manifest, manifest_hash

MANIFEST, SIGNATURE = "package.json", "package.json.sig"


def write_manifest(folder: Path, **about: Any) -> None:
    """Writes the manifest of a folder, and signs it where a key is set."""
    files = [entry for entry in folder_manifest(folder) if entry["path"] not in (MANIFEST, SIGNATURE)]
    value = {"version": 1, **about, "sha256": manifest_hash(files), "files": files}
    (folder / MANIFEST).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if settings.PACKAGE_SIGNING_KEY:
        _sign(folder)


def _sign(folder: Path) -> None:
    from model_signing import signing

    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=Path(settings.PACKAGE_SIGNING_KEY))  # type: ignore[no-untyped-call]
        signer.sign(folder / MANIFEST, folder / SIGNATURE)
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"The package cannot be signed with PACKAGE_SIGNING_KEY: {error}", code="signing") from error


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
    recorded = [FileEntry(path=one["path"], size=one["size"], sha256=one["sha256"]) for one in package.files]
    rest = [one for one in recorded if one["path"] not in (MANIFEST, SIGNATURE)]
    if listed != rest or manifest_hash(recorded) != package.sha256:
        raise Refused(f"The signed manifest of {package} lists other files than its row.", code="manifest")


def requires_signature() -> bool:
    """Whether a key is set, so that unsigned packages are not used."""
    return bool(settings.PACKAGE_PUBLIC_KEY or settings.PACKAGE_SIGNING_KEY)


def check_signature(folder: Path, name: str = "the package") -> None:
    """Checks the signature of the manifest in a folder. ``name``: for the message.

    Raises:
        Refused: (code ``unsigned``, ``signature``) it has none, or not of this key.
    """
    if not (folder / SIGNATURE).is_file() or not (folder / MANIFEST).is_file():
        raise Refused(f"{name.capitalize()} is not signed. Build it again.", code="unsigned")
    from model_signing import verifying

    try:
        with tempfile.TemporaryDirectory() as made:
            key = Path(settings.PACKAGE_PUBLIC_KEY) if settings.PACKAGE_PUBLIC_KEY else _public_key(Path(made))
            verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)  # type: ignore[no-untyped-call]
            verifier.verify(folder / MANIFEST, folder / SIGNATURE)
    except Exception as error:  # whatever the library raises, the package is not verified
        raise Refused(
            f"The signature of the package is not valid for this key: {str(error)[:200]}", code="signature"
        ) from error


def _public_key(folder: Path) -> Path:
    """The public half of PACKAGE_SIGNING_KEY as a file."""
    from cryptography.hazmat.primitives import serialization as formats

    private = formats.load_pem_private_key(Path(settings.PACKAGE_SIGNING_KEY).read_bytes(), None)
    file = folder / "public.pem"
    pem = private.public_key().public_bytes(formats.Encoding.PEM, formats.PublicFormat.SubjectPublicKeyInfo)
    file.write_bytes(pem)
    return file

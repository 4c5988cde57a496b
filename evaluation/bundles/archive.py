"""The zip file of an evidence bundle."""

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from evaluation.bundles.contents import BundleFile, bundle_files
from evaluation.bundles.verification import LIST, SIGNATURE
from evaluation.models import GateReport
from slmstudio.errors import Refused
from slmstudio.storage import signatures
from training.exports.downloads import FIXED_TIMESTAMP, StreamBuffer


def bundle_name(report: GateReport) -> str:
    """The name of the archive without its ending."""
    return f"{report.project.slug}-gate-report-{report.number}-evidence"


def checked_files(report: GateReport) -> list[BundleFile]:
    """The files of the bundle with its signature, after every one was compared with the manifest.

    Raises:
        Refused: (code ``changed``) a file is missing or not the one of the manifest; (code ``signing``) it cannot be
            signed.
    """
    files = bundle_files(report)
    for file in files:
        digest = hashlib.sha256()
        try:
            for piece in file.read():
                digest.update(piece)
        except OSError as error:
            raise Refused(f"{file.path} is missing on disk. Restore a backup.", code="changed") from error
        if digest.hexdigest() != file.sha256 or (file.part and report.manifest.get(file.part) != file.sha256):
            raise Refused(
                f"{file.path} changed after the report was created, so the evidence bundle cannot be created. The "
                "manifest below shows what changed.",
                code="changed",
            )
    return [*files, *_signature(files[-1])]


def _signature(listed: BundleFile) -> Iterator[BundleFile]:
    """The signature of ``bundle.json``, where a key is set."""
    if not signatures.can_sign():
        return
    with tempfile.TemporaryDirectory() as made:
        file, signature = Path(made) / LIST, Path(made) / SIGNATURE
        file.write_bytes(b"".join(listed.read()))
        signatures.sign(file, signature, what="The bundle")
        content = signature.read_bytes()
    yield BundleFile(SIGNATURE, hashlib.sha256(content).hexdigest(), lambda: [content])


def zipped(files: list[BundleFile]) -> Iterator[bytes]:
    """The zip file of a bundle in pieces."""
    buffer = StreamBuffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            info = zipfile.ZipInfo(file.path, FIXED_TIMESTAMP)
            info.external_attr, info.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as target:
                for piece in file.read():
                    target.write(piece)
                    yield from buffer.take()
    yield from buffer.take()

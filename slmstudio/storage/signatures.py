"""Signatures of files with an elliptic-curve key (package ``model-signing``, Sigstore bundles); no network is used.

The private key signs where packages and evidence bundles are made, the public one is enough to verify.
"""

import tempfile
from pathlib import Path

from django.conf import settings

from slmstudio.errors import Refused


def has_key() -> bool:
    """Whether a key is set, so that unsigned files are not used."""
    return bool(settings.PACKAGE_PUBLIC_KEY or settings.PACKAGE_SIGNING_KEY)


def can_sign() -> bool:
    """Whether the private key is set."""
    return bool(settings.PACKAGE_SIGNING_KEY)


def sign(file: Path, signature: Path, *, what: str) -> None:
    """Writes the signature of a file. ``what``: for the message.

    Raises:
        Refused: (code ``signing``) the key cannot be used.
    """
    from model_signing import signing

    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=Path(settings.PACKAGE_SIGNING_KEY))  # type: ignore[no-untyped-call]
        signer.sign(file, signature)
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"{what} cannot be signed with PACKAGE_SIGNING_KEY: {error}", code="signing") from error


def verify(file: Path, signature: Path, *, what: str, public_key: Path | None = None) -> None:
    """Verifies the signature of a file. ``what``: for the message. ``public_key``: default: of the settings.

    Raises:
        Refused: (code ``signature``) it is not valid for this key.
    """
    from model_signing import verifying

    try:
        with tempfile.TemporaryDirectory() as made:
            key = public_key or _own_public_key(Path(made))
            verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)  # type: ignore[no-untyped-call]
            verifier.verify(file, signature)
    except Exception as error:  # whatever the library raises, the file is not verified
        raise Refused(
            f"The signature of {what} is not valid for this key: {str(error)[:200]}", code="signature"
        ) from error


def _own_public_key(folder: Path) -> Path:
    """PACKAGE_PUBLIC_KEY, or the public half of PACKAGE_SIGNING_KEY as a file in a folder."""
    if settings.PACKAGE_PUBLIC_KEY:
        return Path(settings.PACKAGE_PUBLIC_KEY)
    from cryptography.hazmat.primitives import serialization as formats

    private = formats.load_pem_private_key(Path(settings.PACKAGE_SIGNING_KEY).read_bytes(), None)
    file = folder / "public.pem"
    pem = private.public_key().public_bytes(formats.Encoding.PEM, formats.PublicFormat.SubjectPublicKeyInfo)
    file.write_bytes(pem)
    return file

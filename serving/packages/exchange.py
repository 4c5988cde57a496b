"""Pushes packages to a hub, a folder or an object store, and pulls them back: nothing is used before it is verified.

A place is ``hf:OWNER/NAME`` (with ``@REVISION``: a branch, tag or commit) of the Hugging Face-compatible hub at
``HF_ENDPOINT``, a URL of ``fsspec`` such as ``s3://BUCKET/PREFIX``, or the path of a folder.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings

from serving.packages.documents.manifest import MANIFEST, SIGNATURE, check_signature, requires_signature
from slmstudio.errors import Refused
from slmstudio.storage.hashing import changed_files, folder_hash
from slmstudio.web import outbound

HUB = "hf:"
#: what a hub or its client adds to a repository
_ADDED = (".gitattributes", ".cache", ".git")


def place_of(slug: str, number: int) -> str:
    """Where a package is in ``PACKAGE_STORE``."""
    return f"{str(settings.PACKAGE_STORE).rstrip('/')}/{slug}/{number}"


def push(folder: Path, place: str, *, files: Sequence[str], message: str, private: bool = True) -> str:
    """Copies the ``files`` of a package to a place; returns its address.

    Raises:
        Refused: (code ``place``) it cannot be written; (code ``changed``) a file is not the one of the manifest.
    """
    _check(folder)
    if place.startswith(HUB):
        return _push_to_hub(folder, place, files, message, private)
    return _push_to_files(folder, place, files)


def pull(place: str, target: Path, *, sha256: str = "") -> str:
    """Copies a package into the folder ``target``, which must not exist; returns the hash of the package.

    ``sha256``: the hash that it must have; "": not checked.

    Raises:
        Refused: (code ``place``) it cannot be read; (code ``target``) the folder exists; (code ``changed``, ``hash``,
            ``unsigned``, ``signature``) it is not the package that was built. Then nothing is left in ``target``.
    """
    if target.exists():
        raise Refused(f"The folder {target.name} already exists.", code="target")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=target.parent) as temporary:
        folder = Path(temporary) / "package"
        folder.mkdir()
        if place.startswith(HUB):
            _pull_from_hub(place, folder)
        else:
            _pull_from_files(place, folder)
        for name in _ADDED:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        own = _check(folder)
        if sha256 and own != sha256:
            raise Refused(f"The package has the hash {own[:12]}; the expected hash is {sha256[:12]}.", code="hash")
        folder.replace(target)
    return own


def remove(place: str) -> None:
    """Deletes a package at a place; on a hub it stays, as others may use it.

    Raises:
        Refused: (code ``place``) it cannot be deleted.
    """
    if place.startswith(HUB):
        return
    system, path = _filesystem(place)
    try:
        if system.exists(path):
            system.rm(path, recursive=True)
    except OSError as error:
        raise Refused(f"The package cannot be deleted: {_short(error)}", code="place") from error


def _check(folder: Path) -> str:
    """The hash of a package whose files are those of its manifest. Raises Refused."""
    try:
        listed = {str(entry["path"]) for entry in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("There is no package: package.json is missing or not valid.", code="changed") from error
    if any(PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts for path in listed):
        raise Refused("The manifest names files outside the package.", code="changed")
    if any(path.is_symlink() for path in folder.rglob("*")):
        raise Refused("The package has links instead of files.", code="changed")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    changed = sorted({*changed_files(folder), *(there - listed - {MANIFEST, SIGNATURE})})
    if changed:
        raise Refused(f"Files differ from the manifest: {', '.join(changed[:5])}.", code="changed")
    if requires_signature():
        check_signature(folder)
    return folder_hash(folder)


# -- a hub ------------------------------------------------------------------------------------------------------------


def _hub() -> tuple[Any, dict[str, str]]:
    """The client's module, and the arguments that name the hub. Raises Refused: OUTBOUND_HOSTS does not list it."""
    outbound.require_hub()
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    if endpoint:
        # Hubs of other makers have no Xet storage, and the client would use it for uploads.
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    import huggingface_hub

    return huggingface_hub, {"endpoint": endpoint} if endpoint else {}


def _repository(place: str) -> tuple[str, str | None]:
    name, _, revision = place.removeprefix(HUB).partition("@")
    return name, revision or None


def _push_to_hub(folder: Path, place: str, files: Sequence[str], message: str, private: bool) -> str:
    hub, where = _hub()
    name, revision = _repository(place)
    try:
        api = hub.HfApi(**where)
        api.create_repo(name, private=private, exist_ok=True, repo_type="model")
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, revision=revision, commit_message=message, allow_patterns=list(files),
            delete_patterns="*",
        )  # fmt: skip
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError, ValueError, RuntimeError) as error:
        raise Refused(f"The hub rejected the package: {_short(error)}", code="place") from error
    return str(commit.commit_url)


def _pull_from_hub(place: str, folder: Path) -> None:
    hub, where = _hub()
    name, revision = _repository(place)
    with tempfile.TemporaryDirectory(prefix="slm-hub-") as cache:
        try:
            hub.snapshot_download(name, revision=revision, local_dir=folder, cache_dir=cache, **where)
        except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError, ValueError) as error:
            raise Refused(f"The hub could not send the package: {_short(error)}", code="place") from error


# -- a folder, or an object store -------------------------------------------------------------------------------------


def _filesystem(place: str) -> tuple[Any, str]:
    import fsspec  # type: ignore[import-untyped]

    try:
        system, path = fsspec.core.url_to_fs(place if "://" in place else Path(place).absolute().as_uri())
    except (ImportError, ValueError) as error:
        raise Refused(f"{place} cannot be used: {_short(error)}", code="place") from error
    return system, str(path).rstrip("/")


def _push_to_files(folder: Path, place: str, files: Sequence[str]) -> str:
    system, path = _filesystem(place)
    try:
        # The manifest comes last: without it there is no package.
        for name in sorted(files, key=lambda name: (name in (MANIFEST, SIGNATURE), name)):
            system.makedirs(f"{path}/{name}".rpartition("/")[0], exist_ok=True)
            system.put_file(str(folder / name), f"{path}/{name}")
    except OSError as error:
        raise Refused(f"The package cannot be written: {_short(error)}", code="place") from error
    return place


def _pull_from_files(place: str, folder: Path) -> None:
    system, path = _filesystem(place)
    try:
        system.get_file(f"{path}/{MANIFEST}", str(folder / MANIFEST))
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        names = [str(entry["path"]) for entry in listed]
        if system.exists(f"{path}/{SIGNATURE}"):
            names.append(SIGNATURE)
        for name in names:
            target = (folder / name).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise Refused("The manifest names files outside the package.", code="changed")
            target.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(f"{path}/{name}", str(target))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"There is no package at {place}: {_short(error)}", code="place") from error


def _short(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]

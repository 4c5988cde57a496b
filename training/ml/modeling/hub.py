"""Downloads from the Hugging Face Hub: file selection, size check, download."""

import errno
import json
import shutil
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from slmstudio.errors import Refused
from slmstudio.text.formatting import format_bytes
from training.ml.events import is_disk_full
from training.spec import PrepareSpec

CONFIG_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json",
)  # fmt: skip
SINGLE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
#: bytes that must stay free: the database is on the same disk
RESERVED_BYTES = 2_000_000_000
MAX_INDEX_BYTES = 100_000_000  # bytes
_ADVICE = "Use a packaged model or a local folder, or connect this machine to the hub."
_FOLDER_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG)


def selected_files(names: Iterable[str], read: Callable[[str], str]) -> list[str]:
    """The files of a repository to download, at its top level: config, tokenizer, and the weights once.

    Repositories can have the same weights under a second name (``consolidated.safetensors``): the single file is used
    where there is one, else the files of the index, else all weights. ``read`` returns the text of a file.

    Raises:
        Refused: the index has no valid list of files.
    """
    top_level = {name for name in names if "/" not in name}
    selected = [name for name in CONFIG_FILES if name in top_level]
    if SINGLE_FILE in top_level:
        return [*selected, SINGLE_FILE]
    if INDEX not in top_level:
        return [*selected, *sorted(name for name in top_level if name.endswith(".safetensors"))]
    try:
        placed = json.loads(read(INDEX))["weight_map"].values()
        shards = {name for name in placed if isinstance(name, str)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"{INDEX} does not list the weight files.", code="model") from error
    # missing files are found by the check of the folder
    return [*selected, INDEX, *sorted(shards & top_level)]


def fetch(spec: PrepareSpec, folder: Path, emit: Callable[..., None]) -> dict[str, str]:
    """Downloads a model into ``folder``; returns its revision and license.

    Raises:
        Refused: the hub is not reachable, the model does not exist or its terms are not accepted, it is larger than
            ``spec.max_gb`` or the free disk space, or it cannot be written.
    """
    if spec.offline:
        reason = f"{spec.source} must be downloaded, and this machine is offline."
        raise Refused(f"{reason} {_ADVICE}", code="offline")
    from huggingface_hub import errors

    try:
        return _fetch(spec, folder, emit)
    except Refused:
        raise
    except errors.GatedRepoError as error:
        raise Refused(
            f"{spec.source} has terms that you must first accept on the Hugging Face Hub.", code="model"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise Refused(f"The hub has no {spec.source} at revision {spec.revision}.", code="model") from error
    except Exception as error:
        explained = _reason(error, spec.source)
        if explained is None:
            raise
        code, message = explained
        raise Refused(message, code=code) from error


def _reason(error: Exception, source: str) -> tuple[str, str] | None:
    """Kind and message of an error: the disk, the folder, or an unreachable hub; None for others."""
    if is_disk_full(error):
        return "disk", f"The disk is full, so {source} was not downloaded. Free some space and try again."
    is_network_error = isinstance(error, ConnectionError | TimeoutError | socket.gaierror)
    if isinstance(error, OSError) and error.errno in _FOLDER_ERRORS and not is_network_error:
        return "disk", f"{source} cannot be written here: {error.strerror}."
    if isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "httpcore", "huggingface_hub")):
        return "offline", f"The hub cannot be reached, so {source} cannot be downloaded. {_ADVICE}"
    return None


def _fetch(spec: PrepareSpec, folder: Path, emit: Callable[..., None]) -> dict[str, str]:
    import huggingface_hub

    emit("stage", text="connecting to the hub")
    info = huggingface_hub.HfApi().model_info(spec.source, revision=spec.revision, timeout=10, files_metadata=True)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}

    def read(name: str) -> str:
        if sizes[name] > MAX_INDEX_BYTES:
            raise Refused(f"{name} is larger than a file of this kind can be.", code="model")
        place = huggingface_hub.hf_hub_download(spec.source, name, revision=info.sha, local_dir=folder)
        return Path(place).read_text(encoding="utf-8")

    names = selected_files(sizes, read)
    size = sum(sizes[name] for name in names)
    check_download_size(spec.source, size, limit=int(spec.max_gb * 1e9), folder=folder)
    emit("stage", text=f"downloading {format_bytes(size)}" if size else "downloading")
    # directly into the folder; the hub's cache would store everything twice
    huggingface_hub.snapshot_download(spec.source, revision=info.sha, allow_patterns=names, local_dir=folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return {"revision": str(info.sha), "license": (info.card_data.license if info.card_data else "") or ""}


def check_download_size(source: str, size: int, *, limit: int, folder: Path) -> None:
    """Raises Refused where ``size`` bytes exceed ``limit`` (0: no limit), or than the disk has to spare."""
    if limit and size > limit:
        raise Refused(
            f"{source} is {format_bytes(size)}; the limit is {format_bytes(limit)}. An administrator can raise it.",
            code="disk",
        )
    free = shutil.disk_usage(folder).free
    if size + RESERVED_BYTES > free:
        raise Refused(
            f"{source} is {format_bytes(size)}. {format_bytes(free)} is free in the models folder, "
            f"and {format_bytes(RESERVED_BYTES)} must stay free.",
            code="disk",
        )

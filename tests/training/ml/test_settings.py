"""Settings of libraries before their import; the environment takes precedence."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.training.ml_data import REPO

NAMES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "TORCHINDUCTOR_CACHE_DIR")


def test_kernel_cache_is_small_and_compiled_code_is_kept_in_the_studio(tmp_path: Path) -> None:
    code = (
        "import json, os, sys, training.ml\n"
        f"print(json.dumps([[os.environ[name] for name in {NAMES}], 'torch' in sys.modules]))"
    )
    environment = {key: value for key, value in os.environ.items() if key not in NAMES}
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "SLM_HOME": str(tmp_path), "LRU_CACHE_CAPACITY": "7"},
        cwd=REPO,
        stdout=subprocess.PIPE,
        check=True,
    )
    (given, usual, folder), has_torch = json.loads(printed.stdout)
    assert (given, usual, has_torch) == ("7", "512", False)
    assert Path(folder).parent == tmp_path / "compiled"

"""Settings of libraries before their import; the environment takes precedence."""

import json
import os
import subprocess
import sys

from tests.training.ml_data import REPO

NAMES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")


def test_kernel_cache_is_small() -> None:
    code = (
        "import json, os, sys, training.ml\n"
        f"print(json.dumps([[os.environ[name] for name in {NAMES}], 'torch' in sys.modules]))"
    )

    def settings_with(**values: str) -> list[object]:
        env = {key: value for key, value in os.environ.items() if key not in NAMES}
        out = subprocess.run(
            [sys.executable, "-c", code], env=env | values, cwd=REPO, stdout=subprocess.PIPE, check=True
        )
        return list(json.loads(out.stdout))

    assert settings_with() == [["512", "512"], False]
    assert settings_with(LRU_CACHE_CAPACITY="7") == [["7", "512"], False]

"""What the libraries are told before they are imported, and that whoever starts a run has the last word."""

import json
import os
import subprocess
import sys

from tests.training.ml_data import REPO

NAMES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")


def test_few_kernels_are_kept_for_shapes_that_do_not_come_back() -> None:
    code = (
        "import json, os, sys, training.ml\n"
        f"print(json.dumps([[os.environ[name] for name in {NAMES}], 'torch' in sys.modules]))"
    )

    def told(**values: str) -> list[object]:
        env = {key: value for key, value in os.environ.items() if key not in NAMES}
        out = subprocess.run(
            [sys.executable, "-c", code], env=env | values, cwd=REPO, stdout=subprocess.PIPE, check=True
        )
        return list(json.loads(out.stdout))

    assert told() == [["512", "512"], False]
    assert told(LRU_CACHE_CAPACITY="7") == [["7", "512"], False]

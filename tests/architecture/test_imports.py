"""Import rules: no torch in the web process, no lower app importing a higher one."""

import subprocess
import sys

import pytest
from django.conf import settings

PROBE = """
import sys
import django
django.setup()
from django.urls import get_resolver
get_resolver().url_patterns
import labeling.jobs, training.runs.jobs, evaluation.runs.jobs, evaluation.prelabels.jobs
import slmstudio.wsgi
heavy = sorted({"torch", "transformers", "peft", "trl", "datasets", "scipy", "statsmodels"} & set(sys.modules))
print(",".join(heavy))
"""


def test_web_process_and_jobs_never_import_heavy_libraries() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == ""


@pytest.mark.slow
def test_child_processes_do_not_import_django() -> None:
    """In one process, as loading torch takes seconds: each module is imported after those before it."""
    modules = ("training.ml.train", "training.ml.lengths", "evaluation.ml.generate", "evaluation.ml.generate_llama")
    code = (
        "import importlib, sys\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
        "    print(module, *(name for name in sys.modules if name.split('.')[0] == 'django'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True, timeout=180
    )
    assert done.stdout.split("\n")[:-1] == [*modules]

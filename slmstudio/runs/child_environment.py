"""The environment of a child process: the variables it needs, and no secrets.

Children read untrusted files and models. They must not see the addresses and passwords of the database and the queue,
the signing key or endpoint API keys, so variables are allowlisted.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from ctypes.util import find_library
from functools import cache
from types import MappingProxyType

from slmstudio.logs.json_lines import child_variables

#: CPU settings of a process that trains or generates. glibc keeps memory that was freed instead of faulting it in
#: again at every step, in huge pages if the kernel has them: saves a sixth of a training, for 1 to 2% more at the
#: peak. It returns blocks of 512 MiB and more: among the others, the gradient of an embedding of 262,144 tokens left
#: gaps of 2 to 4 GB. Threads that wait for each other spin for some milliseconds before they sleep: saves a quarter.
#: ``passive`` lets ``training.ml.hardware.contention`` turn that off while other processes use the cores.
_CPU_SETTINGS = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=536870912:"
    "glibc.malloc.trim_threshold=8589934592",
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "300000",
}
#: no line in the log for each block of a gigabyte
_TCMALLOC_SETTINGS = {"TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD": str(2**40)}
_MAPS = "print(open('/proc/self/maps').read())"


@cache
def cpu_settings() -> Mapping[str, str]:
    """The CPU settings of a process that trains or generates, with tcmalloc where this machine has it.

    glibc keeps all free blocks of a megabyte and more in one list. A training fills it with blocks of many sizes, one
    for each length of a batch, so that a search takes longer and longer, and more of them do not fit.
    """
    library = _tcmalloc()
    return MappingProxyType({**_CPU_SETTINGS, **({"LD_PRELOAD": library, **_TCMALLOC_SETTINGS} if library else {})})


def _tcmalloc() -> str | None:
    """The library to preload; None where there is none or a process does not start with it."""
    library = find_library("tcmalloc_minimal") if sys.platform == "linux" else None
    if library is None:
        return None
    tried = subprocess.run(
        [sys.executable, "-S", "-c", _MAPS],
        env={**os.environ, "LD_PRELOAD": library},
        capture_output=True,
        check=False,
        text=True,
    )
    return library if tried.returncode == 0 and "tcmalloc" in tried.stdout and not tried.stderr else None


_NAMES = frozenset(
    (
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "TERM",
        "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME",
        "PYTHONHASHSEED", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS", "PYTHONUTF8",
        "GLIBC_TUNABLES", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_DATASETS_CACHE", "TRANSFORMERS_CACHE",
        "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "SLM_HOME", "CC", "CXX",
    )
)  # fmt: skip
_PREFIXES = (
    "LC_", "XDG_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "VECLIB_", "NUMEXPR_", "MALLOC_", "CUDA_", "NVIDIA_",
    "NCCL_", "HIP_", "ROCR_", "TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "TRITON_", "TOKENIZERS_", "ACCELERATE_", "GGML_",
    "HSA_", "CUBLAS_", "TCMALLOC_", "GLOO_", "UCX_", "OBJC_", "COVERAGE_",
)  # fmt: skip
#: also needed for downloads: the hub's token and settings, and proxies, whose addresses may contain a password
DOWNLOADS = (
    "HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_*", "HF_XET_*",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy",
)  # fmt: skip


def child_environment(also: Iterable[str] = ()) -> dict[str, str]:
    """The variables of this process that a child gets; ``also`` names more, or their prefix followed by a star.

    Example: ``child_environment(["WANDB_*"])`` for a child that reports to Weights & Biases.
    """
    names = {name for name in also if not name.endswith("*")}
    beginnings = (*_PREFIXES, *(name[:-1] for name in also if name.endswith("*")))
    found = {
        name: value
        for name, value in os.environ.items()
        if name in _NAMES or name in names or name.startswith(beginnings)
    }
    return {**found, **child_variables()}


def compute_environment(also: Iterable[str] = ()) -> dict[str, str]:
    """The variables of a child that trains or generates: those of ``child_environment``, and CPU settings that are not
    among them.
    """
    return {**cpu_settings(), **child_environment(also)}

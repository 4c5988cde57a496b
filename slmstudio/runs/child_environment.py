"""The environment of a child process: the variables it needs, and no secrets.

Children read untrusted files and models. They must not see the addresses and passwords of the database and the queue,
the signing key or endpoint API keys, so variables are allowlisted.
"""

import os
import sys
from collections.abc import Iterable
from ctypes.util import find_library
from functools import cache

#: CPU settings of a process that trains or generates, unless the environment sets others. Memory that was freed is
#: kept instead of faulted in again at every step, in huge pages if the kernel has them: saves a sixth of a training,
#: for 1 to 2 % more at the peak. glibc returns blocks of 512 MiB and more: among the others, the gradient of an
#: embedding of 262,144 tokens left gaps of 2 to 4 GB. Threads that wait for each other spin for some milliseconds
#: before they sleep: saves a quarter. ``passive`` lets ``training.ml.hardware.contention`` turn that off while other
#: processes use the cores.
_CPU_SETTINGS = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=536870912:"
    "glibc.malloc.trim_threshold=8589934592",
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "300000",
}
#: jemalloc keeps freed memory and has no heap of its own for large blocks, which it would return at once.
_JEMALLOC_SETTINGS = "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1,metadata_thp:auto,thp:always"


@cache
def cpu_settings() -> dict[str, str]:
    """The CPU settings of a process that trains or generates, with jemalloc where this machine has it.

    glibc searches one sorted list for all free blocks of a megabyte and more. A long training fills it with blocks of
    many sizes, one for each length of a batch, until a fifth of the time is the search.
    """
    library = find_library("jemalloc") if sys.platform == "linux" else None
    return {**_CPU_SETTINGS, **({"LD_PRELOAD": library, "MALLOC_CONF": _JEMALLOC_SETTINGS} if library else {})}


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
    "HSA_", "CUBLAS_", "GLOO_", "UCX_", "OBJC_", "COVERAGE_",
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
    return {
        name: value
        for name, value in os.environ.items()
        if name in _NAMES or name in names or name.startswith(beginnings)
    }

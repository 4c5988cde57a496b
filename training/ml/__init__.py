"""Child processes for models: preparation, training, decoding. Independent of Django: a spec in, files and events out.

The libraries read these variables when they are imported, so they are set before every import of torch.
"""

import hashlib
import os
from pathlib import Path

from slmstudio.storage import installation

_HOME = installation.home()


def _processor() -> str:
    """A name for what the processor can do: code that was compiled for another one may crash here."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(features.encode()).hexdigest()[:12]


# Spinning threads cost a shared machine more than they save.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# On a CPU in bf16 a kernel is compiled and cached for every matrix shape, a thousand in each of two caches: 0.9 GB,
# although length-grouped batches rarely repeat a shape. These sizes hold the kernels of one step of up to 7,000 tokens
# (two per 32 tokens in attention, and fifty more); with fewer, every layer would compile them again.
os.environ.setdefault("LRU_CACHE_CAPACITY", "512")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")
# A model folder is complete, so nothing waits for a network. Only `prepare` unsets this, for a hub id.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Compiled layers (`modeling.compilation`): by default in a folder of /tmp that others can make first, in processes that
# keep their memory until the end.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_HOME / "compiled" / _processor()))
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")

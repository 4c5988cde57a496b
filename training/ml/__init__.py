"""Models: preparing, training, decoding. Knows nothing of Django; a spec in, files and events out.

What is set here is read by the libraries when they are imported, so it stands in front of every import of torch.
"""

import os

# Threads that spin while they wait cost a shared machine more than they save.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# On a CPU in bf16 a kernel is built and kept for every shape that is multiplied, a thousand in each of two caches:
# 0.9 GB for nothing, since batches by length hardly ever have the same shapes twice. These hold those of one step of
# up to some 7,000 tokens (two for each 32 of them in attention, and fifty more); fewer would be built for every layer.
os.environ.setdefault("LRU_CACHE_CAPACITY", "512")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "512")
# A model folder is complete: nothing may wait for a network. Only `prepare` lifts this, for a hub id.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

"""Models: preparing, training, decoding. Knows nothing of Django; a spec in, files and events out.

What is set here is read by the libraries when they are imported, so it stands in front of every import of torch.
"""

import os

# Threads that spin while they wait cost a shared machine more than they save.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A model folder is complete: nothing may wait for a network. Only `prepare` lifts this, for a hub id.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

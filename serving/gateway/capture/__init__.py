"""Forwards requests to the external model that callers use today, unchanged, and logs them."""

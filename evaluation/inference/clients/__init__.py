"""Clients of external APIs: one module for each API, and its line in ``client``."""

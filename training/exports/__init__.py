"""Exports: GGUF files, configurations for other trainers, model cards, downloads."""

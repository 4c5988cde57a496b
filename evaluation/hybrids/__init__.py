"""Hybrid models: an encoder that a decoder helps where it is unsure."""

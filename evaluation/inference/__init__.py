"""Inference: models behind an address, and what they answer."""

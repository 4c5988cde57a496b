"""Figures of the request log: counted per minute, read per window."""

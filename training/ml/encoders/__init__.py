"""Encoders in child processes: their heads, labels, training and outputs."""

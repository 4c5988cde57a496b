"""Decoding: greedy, speculative and constrained, with a reusable key-value cache."""

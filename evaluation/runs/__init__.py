"""Eval runs: a model over documents, its outputs, scores and resources."""

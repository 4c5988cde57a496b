"""Drift: whether live requests differ from the documents of the evaluation."""

"""Comparisons of eval runs on the same documents."""

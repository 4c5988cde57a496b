"""Scores: counts, slices and differences that pages, gates and comparisons share. Pure."""

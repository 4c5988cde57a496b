"""Benchmarks: several models, before any training, on the same labelled documents."""

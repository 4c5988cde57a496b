"""Benchmarks (docs/benchmarks.md). Run by hand; tests measure no times."""

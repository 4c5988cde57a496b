"""Measurements of what users wait for. Run by hand (docs/benchmarks.md); the tests time nothing."""

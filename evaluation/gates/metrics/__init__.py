"""Metrics that a gate can test: one registry of title, unit, count and test."""

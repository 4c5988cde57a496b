"""Schemas derived from what a team has: a schema of another tool, examples, labels."""

"""The audit log: append-only, hash-chained decisions of a project."""

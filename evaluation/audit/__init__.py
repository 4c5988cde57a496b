"""The audit log: who decided what, and when; a chain of hashes proves it whole."""

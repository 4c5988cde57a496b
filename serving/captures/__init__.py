"""Captured traffic: requests that were forwarded to an external model become documents with pre-labels."""

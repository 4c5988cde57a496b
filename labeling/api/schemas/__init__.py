"""Schemas of request and response bodies by feature: they validate requests and document the interface."""

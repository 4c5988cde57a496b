"""Monitoring of a deployment: figures of the request log, alerts on them, and drift."""

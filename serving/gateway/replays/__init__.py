"""Logged requests for a candidate in shadow, sent by the studio."""

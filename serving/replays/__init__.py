"""Replays of logged requests for a candidate in shadow, where the traffic is too small."""

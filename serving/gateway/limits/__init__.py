"""Limits of tokens and projects, counted over all gateways."""

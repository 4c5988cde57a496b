"""Integrations: API tokens and webhooks."""

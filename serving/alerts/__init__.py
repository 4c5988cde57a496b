"""Alerts on a deployment: rules, their states, webhooks and mail."""

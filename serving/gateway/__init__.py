"""The gateway: a process of its own that answers callers with the deployed models."""

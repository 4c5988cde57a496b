"""Connections of the gateway to replicas."""

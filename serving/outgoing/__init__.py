"""Outgoing connections: where data of a project can leave the studio to."""

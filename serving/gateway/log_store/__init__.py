"""Moves the request log of this host's gateways from their files to the database, in a process of its own."""

"""Schema migrations: labels taken from one schema version to another."""

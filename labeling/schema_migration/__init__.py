"""Schema migrations: labels migrated to another schema version."""

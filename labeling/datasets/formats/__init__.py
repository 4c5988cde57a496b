"""Export formats: one module a format, and their registry."""

"""Projects: who is in them, what their task promises, and their settings."""

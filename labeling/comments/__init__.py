"""Comments on documents and their fields, and mentions of members."""

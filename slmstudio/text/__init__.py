"""Text as vectors, and a classifier that trains in seconds."""

"""How values are written; text as vectors, and a classifier that trains in seconds."""

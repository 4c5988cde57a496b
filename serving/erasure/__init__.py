"""Erasure of a text, such as a name or a document's ID, wherever a project stores it."""

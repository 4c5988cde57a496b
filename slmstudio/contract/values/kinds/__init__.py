"""Kinds of fields: how their values are compared, read, displayed and found in a document."""

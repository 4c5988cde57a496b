"""Imports: uploaded files become documents, and every row is accounted for."""

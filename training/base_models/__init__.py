"""Base models: the catalogue, downloads, checks and preparation."""

"""Base models: catalog, downloads, checks and preparation."""

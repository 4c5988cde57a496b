"""The client of an OpenAI-compatible endpoint, and documents read with it."""

"""Schemas derived from what a team has: examples, Pydantic models, TypeScript types."""

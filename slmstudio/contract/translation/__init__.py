"""Schemas as generators and people write them, translated into the dialect of this project."""

"""Everything that writes on the labeling side. Keyword-only, typed; errors carry sentences."""

"""Pages of the labeling side."""

"""Pages of the evaluation side."""

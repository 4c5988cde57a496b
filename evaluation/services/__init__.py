"""Everything that writes on the evaluation side."""

"""Review: decisions about labels, adjudication, challenges, agreement, progress."""

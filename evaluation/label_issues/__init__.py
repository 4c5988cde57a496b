"""Label issues: challenges of gold, corrections, and lookalikes to label."""

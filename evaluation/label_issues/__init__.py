"""Label issues: challenges of gold, corrections, and look-alikes to label."""

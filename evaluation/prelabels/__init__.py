"""Pre-labels: models propose, people decide."""

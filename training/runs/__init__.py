"""Training runs: from the form to the ModelVersion."""

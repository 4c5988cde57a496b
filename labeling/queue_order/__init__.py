"""The order in which documents wait for labels: by confidence, disagreement, diversity, or at random."""

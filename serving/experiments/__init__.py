"""A/B tests of two approved versions, with the evidence of rollouts."""

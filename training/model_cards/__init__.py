"""Model cards: README, lineage and environment in the folder of a model version."""

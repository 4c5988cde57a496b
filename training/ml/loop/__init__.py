"""The training loop: trainer, checkpoints, events, early stopping, artifacts."""

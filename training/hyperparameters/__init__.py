"""Hyperparameters of a training run: values, presets, validation and texts."""

"""Retraining by rule: proposes a training run; a person starts it."""

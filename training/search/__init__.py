"""Hyperparameter search: trials as ordinary runs, proposed and pruned by Optuna, within a budget of hours."""

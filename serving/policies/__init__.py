"""The answer policy of a deployment: calibration, the larger model as fallback, and the error budget."""

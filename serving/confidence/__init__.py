"""How sure a deployed model is: calibrated probabilities of fields, and limits for an error rate."""

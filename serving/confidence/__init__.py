"""How sure a deployed model is: calibrated confidence, the answer policy with its threshold, and the error budget."""

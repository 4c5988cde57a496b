"""Learning curves: accuracy by number of labels, and what more labels would bring."""

"""Annotation: the queue, the labeling screen, revisions, comments, predictions."""

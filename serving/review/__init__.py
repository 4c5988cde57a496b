"""Requests that people judge: the sample, the review queue, judgments, live accuracy, and when to retrain."""

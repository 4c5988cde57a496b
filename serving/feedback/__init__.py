"""Judgments of requests, the requests that are drawn for labeling, the review queue, and live accuracy."""

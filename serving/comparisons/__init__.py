"""Comparisons of two versions on traffic, and the certificates of what they show."""

"""Certificates of non-inferiority of a candidate to what answers today."""

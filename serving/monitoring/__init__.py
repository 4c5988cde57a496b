"""The monitoring page of a deployment, and the loop that keeps its figures."""

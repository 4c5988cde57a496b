"""Datasets: frozen versions, their splits, exports and differences."""

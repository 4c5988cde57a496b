"""Reproduction of a gate report: its model and its outputs are made again and compared with the stored ones."""

"""The whole loop as one unit: benchmark, train, evaluate, compare, gate."""

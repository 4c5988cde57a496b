"""Studies: searches, learning curves, label checks and orders of the queue as one kind of run with one list."""

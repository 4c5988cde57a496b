"""Answers of a model over a dataset's documents. Knows nothing of Django; a spec in, a file and events out."""

import training.ml  # noqa: F401 - sets what torch reads when it is imported

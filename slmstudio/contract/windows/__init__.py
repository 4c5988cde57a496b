"""Documents that are longer than a model reads: windows of a text, their gold, and one output from all of theirs."""

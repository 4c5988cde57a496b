"""Classical models: TF-IDF or sentence embeddings with logistic regression, and extraction rules."""

"""Classical models: features of texts, a classifier or extractor for each field, and the files of a model."""

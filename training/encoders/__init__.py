"""Encoders: models that read a document once and point at its values, with a head for each field of the contract."""

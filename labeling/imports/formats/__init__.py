"""Import formats: one module each, listed in ``registry``. Pure: no Django; rows are streamed."""

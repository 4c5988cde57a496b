"""Prompts and answers of models: fine-tuning files, chat logs, traces. A shape is an entry of ``shapes``. Pure."""

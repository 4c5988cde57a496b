"""Optimized prompts: a small search over instructions and few-shot examples on validation documents."""

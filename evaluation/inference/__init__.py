"""Inference: backends that run models here or call them over HTTP, and the responses."""

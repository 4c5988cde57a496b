"""Traces of requests over OTLP, where OTEL_EXPORTER_OTLP_ENDPOINT is set."""

"""The log of all processes as lines of JSON, the IDs of requests, and the stream of audit entries."""

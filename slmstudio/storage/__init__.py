"""Files: artifacts, their hashes, sizes, quotas and privacy."""

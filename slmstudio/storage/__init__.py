"""Files: artifacts, hashes, sizes and private permissions."""

"""The handling of every request: client addresses, limits, compression, errors."""

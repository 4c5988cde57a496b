"""What every request goes through: addresses, limits, compression, errors."""

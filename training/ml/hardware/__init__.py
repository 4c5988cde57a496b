"""The machine: device, precision, memory and CPU contention."""

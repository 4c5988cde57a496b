"""What comes in from callers: connections and bodies, within limits of size, time and cost."""

"""Workers and queues: which there are, what they run, what failed."""

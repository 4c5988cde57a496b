"""Workers and queues: live workers, the jobs they run, failed jobs."""

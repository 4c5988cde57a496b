"""Background runs: their state machine, supervision, heartbeat and the reaper."""

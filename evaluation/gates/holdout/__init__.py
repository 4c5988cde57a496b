"""The hold-out of gate reports: alpha spending, membership, permits, required sample size."""

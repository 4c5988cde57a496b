"""The hold-out of gate reports: alpha spending, membership, required sample size."""

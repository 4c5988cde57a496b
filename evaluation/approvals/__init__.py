"""Approvals: a manager's decision on a gate report, with its waivers and copies."""

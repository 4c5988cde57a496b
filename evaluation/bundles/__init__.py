"""The evidence bundle of a gate report: a zip file that a third person can check without the studio."""

"""The evidence bundle of a gate report: a zip file that a third person verifies without the database."""

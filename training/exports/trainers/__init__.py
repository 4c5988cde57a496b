"""Other trainers that a run can be exported for."""

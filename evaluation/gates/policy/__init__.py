"""Gate policies: gates as data, a project's versions of them, proposals, and their pages."""

"""What this app shows on a project's home and on a document's page."""

"""Documents: the list and its filters, one document's page, bulk edits, search."""

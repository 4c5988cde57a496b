"""The table of training runs: columns, filters, tags, notes and the archive."""

"""The REST face of the labeling side: the same services as the pages, no rules of its own."""

"""The demo: sample invoices, and templates of the usual tasks."""

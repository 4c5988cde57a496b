"""The rules of a contract: its schema text, its constraints, and the record of its changes."""

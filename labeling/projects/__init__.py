"""Projects: members, contract and settings."""

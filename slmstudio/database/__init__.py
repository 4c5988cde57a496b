"""The database: its address, its roles, exact JSON columns."""

"""Accounts: signing in, permissions of an account, rate limits."""

"""Accounts: sign-in, account permissions, rate limits."""

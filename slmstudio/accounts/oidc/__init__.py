"""The company's accounts: sign-in by OpenID Connect, and what follows from a change at the provider."""

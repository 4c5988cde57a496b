"""The form of a schema: its tree of nodes, the values in it, their validation. Pure."""

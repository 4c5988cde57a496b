"""The regression suite: pinned documents that no model may break again."""

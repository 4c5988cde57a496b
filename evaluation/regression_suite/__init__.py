"""The regression suite: pinned documents that every model must get right."""

"""Every version that was served, with its accuracy before and after, its share and its cost."""

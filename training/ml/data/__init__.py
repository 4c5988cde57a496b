"""Dataset rows as token ids: prompts, completions, encoded splits."""

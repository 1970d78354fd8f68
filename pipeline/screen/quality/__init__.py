"""Quality: texts that no model should learn from."""

"""Personal data: found, replaced, and looked for again."""

"""The story of a row: where it came from, what every stage decided, where it is now."""

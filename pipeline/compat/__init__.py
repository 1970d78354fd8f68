"""Replacements for private parts of other libraries, each applied only to the releases it was written for."""

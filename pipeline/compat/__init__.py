"""Replacements for private parts of other libraries, each behind a guard on the version it was written for."""

"""The work: read, screen, deduplicate, split, synthesize, train, evaluate, merge, report.

Nothing in this package parses a command line or starts Ray, and importing it imports no torch.
"""

__version__ = "0.1.0"

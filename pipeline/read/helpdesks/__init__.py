"""Help desks that export tickets as tables: what they call their columns."""

"""The run's HTML page."""

"""Toxicity: Detoxify, with a screen that lets harmless texts leave early."""

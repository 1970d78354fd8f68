"""Conversations as help desks and inboxes export them: what was said in public, by whom, in which order."""

"""Mail as it is stored: messages and threads."""

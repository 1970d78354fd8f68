"""Self-instruct: new questions for answers that people gave."""

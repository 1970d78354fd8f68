"""From an adapter to files that others serve: merged weights, GGUF, the model card."""

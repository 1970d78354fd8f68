"""What happens step by step: the trainer, its callback, checkpoints, remedies, trackers."""

"""What a small pretrained model learns from three real sets of rows: base against tuned."""

"""What the service tells about itself: metrics and the request log."""

"""Training speed: our job, the guide's recipe and TRL on the same card, the same rows, in one run."""

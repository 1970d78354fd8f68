"""Serving speed: our service, the bare engine and other servers, on the same machine in one run."""

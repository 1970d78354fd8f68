"""Benchmarks: this project and its stock counterparts side by side, in one run. See bench/README.md."""

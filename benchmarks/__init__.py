"""Benchmarks of accuracy, speed and memory, not installed with the package: run ``python -m benchmarks``."""

"""Speed and memory, measured as ratios in one run. In the repository only: run ``python -m benchmarks``."""

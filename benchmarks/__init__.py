"""Timings, as ratios from one process. `make bench` runs them."""

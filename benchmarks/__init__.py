"""Timings, as ratios measured in one process. Run them with `make bench`."""

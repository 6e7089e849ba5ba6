"""The files of a run directory, and `Run`, a read-only handle on them."""

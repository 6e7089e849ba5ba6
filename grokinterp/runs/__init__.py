"""What is kept of a training run: the files of its directory, and `Run`, a read-only handle on them."""

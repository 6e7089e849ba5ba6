"""How a model learns: engines, schedule and the trainer of one run."""

"""Models: parameters are dicts of tensors with TransformerLens names, and forward passes are pure functions."""

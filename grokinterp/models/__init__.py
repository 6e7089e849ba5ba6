"""What learns: parameters are dictionaries of tensors under TransformerLens' names, forwards pure functions."""

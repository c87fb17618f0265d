"""Stored weights: files of tensors, the names that this package has for them, and models that run on them."""

"""Layers of others: a function that makes a torch module, and what is derived from it."""

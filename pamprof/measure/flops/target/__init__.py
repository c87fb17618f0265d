"""Counting somebody else's layer in a process of its own; the parent's side needs no torch."""

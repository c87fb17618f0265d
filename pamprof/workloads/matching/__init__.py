"""Pair layers at equal parameters or equal FLOPs."""

"""Kernels of a block around the recurrence: norms, gates, preparation of queries, keys and values, weights."""

"""Causal attention of the reference layers: the kernels there are, and the fastest of them for a workload's shape."""

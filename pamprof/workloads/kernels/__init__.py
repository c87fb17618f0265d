"""Triton kernels; imported only where Triton is, except for what follows from shapes alone."""

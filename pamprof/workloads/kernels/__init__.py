"""Triton kernels, one file each; imported only where Triton and a GPU are."""

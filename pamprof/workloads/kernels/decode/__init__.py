"""Kernels of one decoded token."""

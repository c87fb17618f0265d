"""Kernels of the recurrence over a sequence, forward and backward."""

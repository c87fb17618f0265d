"""Counting the floating-point operations of a step, operator by operator."""

"""Profiled training loops: figures of one, and several beside one another."""

"""Measuring: a plan, a session of fresh workers, paired sampling, FLOPs, memory, utilisation."""

"""The peak memory of a step and what it is made of."""

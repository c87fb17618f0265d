"""The kernels of a step: how long they ran, which operators launched them, and what those compute and move."""

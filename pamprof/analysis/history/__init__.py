"""What repeated measurements say together: two files against each other, and ratios over many runs."""

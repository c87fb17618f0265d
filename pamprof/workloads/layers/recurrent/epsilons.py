"""What keeps a magnitude, a direction and a norm away from a division by zero; the published values."""

# The first keeps the square root of a zero magnitude differentiable, the second the direction of a zero finite, the
# third the root mean square away from zero.
MAGNITUDE_EPSILON = 1e-8
DIRECTION_EPSILON = 1e-8
NORM_EPSILON = 1e-6

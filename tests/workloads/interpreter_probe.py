"""A loop up to an argument, for ``interpreted`` to see whether Triton's interpreter can run it."""

import triton


@triton.jit
def loop(count):
    for _ in range(0, count):
        pass


if __name__ == "__main__":
    loop[1,](2)

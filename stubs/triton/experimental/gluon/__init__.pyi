"""The decorator of Gluon's kernels, the same as Triton's."""

from triton import jit as jit

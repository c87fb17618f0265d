"""PAM with hand-written Triton kernels; what needs Triton is imported where a block is built."""

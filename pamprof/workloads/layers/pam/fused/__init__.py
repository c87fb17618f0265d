"""PAM with hand-written Triton kernels; imported only where Triton is."""

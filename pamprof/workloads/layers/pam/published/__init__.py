"""PAM as its published code computes it: interleaved pairs, four products, separate stages."""

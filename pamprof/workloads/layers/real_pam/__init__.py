"""The real twin of PAM: the same architecture without complex numbers."""

"""Vector-state memory: PAM's block around one vector a head, bound by circular convolution."""

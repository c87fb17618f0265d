"""pamprof measures what complex arithmetic costs: PAM against transformers, down to dollars per token."""

__version__ = "0.2.0"

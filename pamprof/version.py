"""The version, in a module of its own: the measuring wing records it, and may not know what the package exports."""

__version__ = "0.2.0"

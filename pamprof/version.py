"""The version, apart from the public names, so that no wing needs the package that gathers both."""

__version__ = "0.2.0"

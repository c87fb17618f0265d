"""The built-in layers; each definition is one entry point of the group ``pamprof.layers``."""

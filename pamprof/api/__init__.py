"""The Python door: what ``pamprof`` exports, and how the command line and Python turn the same options into nouns."""

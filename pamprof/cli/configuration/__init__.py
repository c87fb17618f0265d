"""Options from a TOML file, of one run or of several sweeps; and writing such a file."""

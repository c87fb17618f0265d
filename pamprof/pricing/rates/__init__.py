"""Hourly rates: the catalogue, how one row is chosen, how old rows may be, and what is wrong with a list."""

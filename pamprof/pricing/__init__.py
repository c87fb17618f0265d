"""Dollars: what an hour of a device costs, and what a million tokens cost at a measured throughput."""

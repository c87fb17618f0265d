"""Serving without money: measured curves, what lies between and beyond their points, operating points, crossovers."""

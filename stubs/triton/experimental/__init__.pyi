"""Gluon alone."""

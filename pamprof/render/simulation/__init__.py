"""Serving under load as people read it: sentences, tables, rows and a page."""

"""Differences between record files and trends over stored runs, as tables, pictures and a page."""

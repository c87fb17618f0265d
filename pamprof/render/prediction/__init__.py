"""Predicted GPUs side by side: rows for JSON, tables, pictures and the page."""

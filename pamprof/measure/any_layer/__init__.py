"""Layers of others: their code is run in a process of its own while a comparison is planned, and in workers."""

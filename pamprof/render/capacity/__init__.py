"""How much a memory holds: words, tables, pictures, files."""

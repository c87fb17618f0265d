"""The forms a view is written in: HTML, Markdown, terminal, CSV, and files in a folder."""

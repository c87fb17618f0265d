"""The report in every format, from records alone: page, pictures, terminal, Markdown, CSV."""

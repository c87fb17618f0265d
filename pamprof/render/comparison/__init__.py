"""The report on a comparison: its sections, each from the story and the conclusions."""

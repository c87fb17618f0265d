"""The GPT-2-style transformer, the reference."""

"""The Llama-style decoder with grouped queries."""

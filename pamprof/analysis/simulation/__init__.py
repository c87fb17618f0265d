"""Serving under load: requests that arrive as they do, on measured step times, one event after another."""

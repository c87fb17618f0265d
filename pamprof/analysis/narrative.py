"""Stub."""


def headline(analysis: object) -> tuple[str, ...]:
    """Stub."""
    return ()

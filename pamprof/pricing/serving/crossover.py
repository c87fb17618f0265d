"""Crossover contexts by bytes: where a fixed state and a growing cache take the same memory, or move the same bytes.

A decoded token of a transformer reads its whole cache (kappa x context bytes), a token of a fixed-state layer reads and
writes its state (2 x S bytes). Below the crossover the transformer is cheaper; above it the fixed state is.
"""

from __future__ import annotations

from pamprof.errors import SpecError


def memory_crossover_tokens(state_bytes: float, kv_bytes_per_token: float) -> float:
    """S / kappa: the context at which both take the same memory, so that equally many sequences fit."""
    for name, value in (("state_bytes", state_bytes), ("kv_bytes_per_token", kv_bytes_per_token)):
        if not value > 0:
            raise SpecError(f"{name} {value} must lie above zero; check the sizes it comes from")
    return state_bytes / kv_bytes_per_token


def traffic_crossover_tokens(state_bytes: float, kv_bytes_per_token: float) -> float:
    """2 S / kappa: the context at which a decode step moves the same bytes; twice the memory crossover."""
    return 2 * memory_crossover_tokens(state_bytes, kv_bytes_per_token)

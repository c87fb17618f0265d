"""Which physical device CUDA's numbering means: ``CUDA_VISIBLE_DEVICES`` read by CUDA's own rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.hardware.probe import Reading, known, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping


def visible_token(ordinal: int, environment: Mapping[str, str]) -> Reading[str]:
    """The index, UUID (or its prefix) or MIG name that CUDA's device ``ordinal`` stands for.

    An entry that is neither a number nor a ``GPU-`` or ``MIG-`` name ends the list, as it does for CUDA; so does a
    negative number. Source: CUDA C++ Programming Guide, environment variables (read November 2026).
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return known(str(ordinal))
    tokens: list[str] = []
    for entry in listed.split(","):
        token = entry.strip()
        if not (token.isdecimal() or token.startswith(("GPU-", "MIG-"))):
            break
        tokens.append(token)
    if ordinal >= len(tokens):
        return unknown(f"CUDA_VISIBLE_DEVICES={listed!r} shows {len(tokens)} GPUs; device {ordinal} is not among them")
    return known(tokens[ordinal])

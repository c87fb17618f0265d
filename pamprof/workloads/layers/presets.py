"""Named sizes of the built-in layers, read from ``presets.csv``: one row a preset and layer, with its source.

The vocabulary of 50,257 is that of GPT-2's tokeniser. An empty cell is a size that the layer does not have,
an absent one of the last columns what is usual: one state a head, a protect gate that reads magnitudes.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from pamprof.errors import UsageError
from pamprof.records import LayerSpec

_TABLE = Path(__file__).with_name("presets.csv")


def preset(layer: str, name: str) -> LayerSpec:
    """Sizes of the preset ``name`` of ``layer``.

    Raises:
        UsageError: The table has no such preset for this layer; the message names the presets there are.
    """
    sizes = _presets().get(layer, {})
    if name not in sizes:
        raise UsageError(f"no preset {name!r} of layer {layer}; presets are {', '.join(sizes)}")
    return sizes[name]


def preset_names() -> tuple[str, ...]:
    """Names of all presets of any layer, in the order of the table."""
    return tuple(dict.fromkeys(name for sizes in _presets().values() for name in sizes))


@cache
def _presets() -> dict[str, dict[str, LayerSpec]]:
    """Sizes by layer and name of the preset, both in the order of the table."""
    presets: dict[str, dict[str, LayerSpec]] = {}
    with _TABLE.open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            presets.setdefault(row["layer"], {})[row["preset"]] = LayerSpec(
                layer=row["layer"],
                model_dim=int(row["model_dim"]),
                heads=int(row["heads"]),
                head_dim=int(row["head_dim"]),
                depth=int(row["depth"]),
                hidden_dim=int(row["hidden_dim"]),
                vocabulary_size=int(row["vocabulary_size"]),
                maximum_sequence_length=int(row["maximum_sequence_length"]),
                activation=row["activation"],
                chunk_size=int(row["chunk_size"]) if row["chunk_size"] else None,
                key_value_heads=int(row["key_value_heads"]) if row["key_value_heads"] else None,
                state_count=int(row["state_count"] or 1),
                gate_reads_parts=row["gate_reads_parts"] == "yes",
            )
    return presets

"""How much more than the product a kernel computes because it works in whole tiles, where its name contains the tile.

A result of 672 columns in tiles of 128 is computed as 768; a causal attention computes whole tiles on the diagonal.
Names do not contain which side of the tile is along which side of the result, nor whether the last step of the sum is
cut short, so that the answer is a range. cuBLAS, CUTLASS, cuDNN and the flash kernels in torch write their tiles into
their names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.measure.validation.product_trace import Product

_PATTERNS = (
    re.compile(r"tilesize(?P<m>\d+)x(?P<n>\d+)x(?P<k>\d+)"),
    re.compile(r"_(?P<m>\d+)x(?P<n>\d+)_ldg\d+_\w*?stages_(?P<k>\d+)x\d+"),
    re.compile(r"_(?P<m>\d+)x(?P<n>\d+)x(?P<k>\d+)_"),
    re.compile(r"_(?P<m>\d+)x(?P<n>\d+)_(?P<k>\d+)x\d+_"),
    re.compile(r"fwd_kernel_traits<(?:\(int\))?(?P<k>\d+), (?:\(int\))?(?P<m>\d+), (?:\(int\))?(?P<n>\d+),"),
    re.compile(r"gemm_(?P<m>\d+)x(?P<n>\d+)_"),
)


@dataclass(frozen=True, slots=True)
class GemmTile:
    """Rows and columns of the result that one block computes, and how much of the sum at a time (1 if unknown)."""

    rows: int
    columns: int
    inner: int


def tile_of(kernel_name: str) -> GemmTile | None:
    """The tile in a kernel's name; None where it contains none."""
    for pattern in _PATTERNS:
        match = pattern.search(kernel_name)
        if match is not None:
            sizes = match.groupdict()
            return GemmTile(int(sizes["m"]), int(sizes["n"]), int(sizes.get("k") or 1))
    return None


def executed_range(product: Product, tile: GemmTile | None) -> tuple[float, float]:
    """Least and most FLOPs of ``product`` in whole tiles; its own count where the tile or its sizes are unknown."""
    if tile is None or not product.rows:
        return product.flop_count, product.flop_count
    candidates = _attention(product, tile) if product.attention else _product(product, tile)
    return min(candidates), max(candidates)


def _product(product: Product, tile: GemmTile) -> list[float]:
    multiply_adds = product.batch * product.rows * product.columns * product.inner
    flops_each = product.flop_count / multiply_adds
    return [
        flops_each * product.batch * _up(product.rows, rows) * _up(product.columns, columns) * inner
        for rows, columns in ((tile.rows, tile.columns), (tile.columns, tile.rows))
        for inner in (product.inner, _up(product.inner, tile.inner))
    ]


def _attention(product: Product, tile: GemmTile) -> list[float]:
    """Two products for every pair of tiles that holds at least one pair of positions the mask keeps."""
    causal = product.flop_count < product.dense_flop_count
    pairs = 0
    for first in range(0, product.rows, tile.rows):
        seen = min(first + tile.rows, product.columns) if causal else product.columns
        pairs += _up(seen, tile.columns) * tile.rows
    return [4.0 * product.batch * pairs * inner for inner in (product.inner, _up(product.inner, tile.inner))]


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple

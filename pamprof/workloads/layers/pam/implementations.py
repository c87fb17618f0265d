"""The implementations of PAM by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.workloads.layers.pam.complex.arithmetic import Complex
from pamprof.workloads.layers.pam.fused.arithmetic import Fused
from pamprof.workloads.layers.pam.planar.arithmetic import Planar
from pamprof.workloads.layers.pam.planar.block import GaussBlock, PlanarBlock
from pamprof.workloads.layers.pam.planar.products import FourProducts, ThreeProducts
from pamprof.workloads.layers.pam.published.arithmetic import Published

if TYPE_CHECKING:
    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic

ARITHMETICS: dict[str, Arithmetic] = {
    arithmetic.name: arithmetic
    for arithmetic in (
        Published(),
        Planar("planar", PlanarBlock, FourProducts()),
        Planar("gauss", GaussBlock, ThreeProducts()),
        Complex(),
        Fused(),
    )
}


def arithmetic(name: str) -> Arithmetic:
    """The implementation called ``name``, or a ``UsageError`` that lists the ones there are."""
    if name not in ARITHMETICS:
        raise UsageError(f"no implementation {name!r} of layer pam; there is {', '.join(ARITHMETICS)}")
    return ARITHMETICS[name]

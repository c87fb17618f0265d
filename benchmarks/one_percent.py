r"""Two layers that differ by one per cent of work: a comparison in steady state has to tell them apart.

    pamprof compare --effort reference --match none --phase prefill \
        --layer hundred=benchmarks/one_percent.py:hundred,more=benchmarks/one_percent.py:hundred_and_one

Both repeat the same small products; the second repeats one in a hundred more. What the model has besides, embedding and
head, is the same in both, and the counted FLOPs of the records say what ratio is true.
"""

from __future__ import annotations

from torch import Tensor, nn

import pamprof

_UNITS = 100


class Repeated(nn.Module):
    """``count`` products in turn, [B, T, width] to [B, T, width]; one block is the whole model's work."""

    carrier = "block"

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.map = nn.Linear(width, width, bias=False)
        nn.init.orthogonal_(self.map.weight)

    def forward(self, x: Tensor) -> Tensor:
        """An orthogonal map, again and again."""
        for _ in range(self.count):
            x = self.map(x)
        return x


@pamprof.layer("hundred", role="reference")
def hundred(width: int) -> nn.Module:
    """A hundred units of work."""
    return Repeated(width, _UNITS)


def hundred_and_one(width: int) -> nn.Module:
    """One unit more."""
    return Repeated(width, _UNITS + 1)

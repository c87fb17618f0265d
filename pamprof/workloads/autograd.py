"""``torch.autograd.Function`` with a typed ``apply``; torch leaves it untyped, and at run time the class is torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:

    class Function(torch.autograd.Function):
        """A function with its own backward."""

        @classmethod
        def apply(cls, *arguments: Any) -> Any:
            """What ``forward`` returns on ``arguments``, with ``backward`` in the graph."""

else:
    Function = torch.autograd.Function

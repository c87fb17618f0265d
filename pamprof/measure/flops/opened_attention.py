"""Shows a count the attention that torch would hide from it or take apart."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._device import DeviceContext

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ATTEND = "scaled_dot_product_attention"


class OpenedAttention(TorchFunctionMode):
    """Lets the other modes see attention in ``nn.MultiheadAttention``, and keeps attention with dropout fused.

    Modes are set aside while ``multi_head_attention_forward`` runs, so the one that keeps attention fused on the meta
    device does not see the call inside, and a causal one is counted as dense. On CPU tensors without data torch takes
    attention with dropout apart, since no CPU kernel fuses it; those of GPUs do.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        """Call ``func`` so that attention is seen."""
        del types
        keywords, functional = dict(kwargs or {}), vars(torch.nn.functional)
        if func is functional[_ATTEND]:
            return func(*_without_dropout(args, keywords), **keywords)
        if func is not functional["multi_head_attention_forward"]:
            return func(*args, **keywords)
        plain = functional[_ATTEND]
        modes = [mode for mode in _get_current_function_mode_stack() if not isinstance(mode, DeviceContext)]

        def attend(*args: object, **keywords: object) -> object:
            functional[_ATTEND] = plain  # by which the modes know it
            try:
                with ExitStack() as stack:
                    for mode in (*modes, self):
                        stack.enter_context(mode)
                    return plain(*args, **keywords)
            finally:
                functional[_ATTEND] = attend

        functional[_ATTEND] = attend
        try:
            return func(*args, **keywords)
        finally:
            functional[_ATTEND] = plain


def _without_dropout(args: Sequence[object], keywords: dict[str, object]) -> Sequence[object]:
    """The positional arguments; on tensors without data the probability of dropout becomes 0, there or by name."""
    if not isinstance(args[0] if args else keywords.get("query"), FakeTensor):
        return args
    keywords.update({"dropout_p": 0.0} if keywords.get("dropout_p") else {})
    return [0.0 if number == 4 else value for number, value in enumerate(args)]

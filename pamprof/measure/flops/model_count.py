"""``pamprof.count_flops``: what one run of a model costs, by operator and by module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from pamprof.errors import UnsupportedError
from pamprof.measure.flops import counter
from pamprof.measure.flops.attribution import Attribution
from pamprof.measure.flops.model_flops import FlopSum, ModelFlops, total
from pamprof.measure.flops.operator_call import tensors_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.autograd.graph import Node


def count_flops(
    model: nn.Module | Callable[..., object],
    inputs: torch.Tensor | Sequence[object] | Mapping[str, object] = (),
    *,
    backward: bool = False,
) -> ModelFlops:
    """Run the model once and count its floating-point operations exactly.

    A real multiply-add is 2, a complex one 8; causal attention counts the pairs it keeps. The model may be on the meta
    device, where nothing is computed; a compiled one is counted as the eager code it was made from. Gradients, buffers
    and the state of random numbers are afterwards what they were.

    Args:
        model: A module, or a function that runs what is to be counted; modules are named as in ``named_modules``.
        inputs: A tensor, positional arguments, or arguments by name.
        backward: Whether to count a backward pass as well. It begins at the output's ``loss`` or a first output that is
            a scalar, else at the first output that is shaped like the first input, else at all outputs that have a
            gradient. The gradient of an input is computed, and counted, where the input requires one, as that of a
            block inside a model does.

    Returns:
        Totals, forward and backward, by operator and by module, and which operators have no formula.

    Raises:
        UnsupportedError: ``backward`` and no output has a gradient.

    What the model raises comes through.
    """
    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)

    def run() -> object:
        return model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)

    shaped = next(iter(tensors_in(inputs)), None)
    return count_run(
        run,
        root=model if isinstance(model, nn.Module) else None,
        shaped_like=shaped if backward else None,
        backward=backward,
    )


def count_run(
    run: Callable[[], object], *, root: nn.Module | None, backward: bool, shaped_like: torch.Tensor | None = None
) -> ModelFlops:
    """Count ``run``, and the backward pass from what it returns.

    Args:
        run: The forward pass.
        root: The module whose names are used and whose parameters are counted, if there is one.
        backward: Whether to go backward from its outputs.
        shaped_like: The input whose shape tells the main output from others.

    Raises:
        UnsupportedError: ``backward`` and no output has a gradient.
    """
    attribution = Attribution(root)

    def step() -> None:
        output = run()
        if backward:
            _go_backward(_ends(output, shaped_like))

    with _left_as_it_was(root), attribution:
        found = counter.count_flops(step, observe=attribution.observe)
    by_operator, by_module = attribution.operators(), attribution.modules()
    return ModelFlops(
        backward=total(row.backward for row in by_operator),
        parameter_count=None if root is None else parameter_count(root),
        by_operator=by_operator,
        by_module=by_module,
        uncounted=found.uncounted_operators,
        complete=found.complete,
        **FlopSum(
            matrix_flop_count=found.matrix_flop_count,
            matrix_dense_flop_count=found.matrix_dense_flop_count,
            elementwise_flop_count=found.elementwise_flop_count,
        ).fields(),
    )


def parameter_count(module: nn.Module) -> int:
    """Real scalars of all parameters, tied ones once."""
    return sum(
        parameter.numel() * (2 if parameter.is_complex() else 1)
        for parameter in module.parameters()
        if not nn.parameter.is_lazy(parameter)
    )


def _ends(output: object, shaped_like: torch.Tensor | None) -> list[torch.Tensor]:
    """Where the backward pass begins."""
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    tensors = [
        tensor for tensor in tensors_in(loss if isinstance(loss, torch.Tensor) else output) if _leads_back(tensor)
    ]
    if not tensors:
        raise UnsupportedError(
            "no output has a gradient, so there is no backward pass to count; count the forward pass alone "
            "(--phase forward, backward=False)"
        )
    if tensors[0].numel() == 1:
        return tensors[:1]
    alike = [tensor for tensor in tensors if shaped_like is not None and tensor.shape == shaped_like.shape]
    return alike[:1] or tensors


def _leads_back(tensor: torch.Tensor) -> bool:
    return tensor.requires_grad and (tensor.is_floating_point() or tensor.is_complex())


def _go_backward(ends: Sequence[torch.Tensor]) -> None:
    """Go backward with ones as gradient, and leave the gradients of leaves as they were."""
    leaves = _leaves([end.grad_fn for end in ends if end.grad_fn is not None])
    kept = [(leaf, leaf.grad) for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    try:
        torch.autograd.backward(ends, [torch.ones_like(end) for end in ends])
    finally:
        for leaf, gradient in kept:
            leaf.grad = gradient


def _leaves(nodes: list[Node]) -> list[torch.Tensor]:
    seen, leaves = set(nodes), []
    while nodes:
        node = nodes.pop()
        variable = getattr(node, "variable", None)
        if isinstance(variable, torch.Tensor):
            leaves.append(variable)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return leaves


@contextmanager
def _left_as_it_was(root: nn.Module | None) -> Iterator[None]:
    """Buffers that the run writes to and the random state are put back; attention and encoders run their plain code.

    The fused inference code of ``nn.MultiheadAttention`` and ``nn.TransformerEncoderLayer`` computes the same in
    operators of its own, which depend on mode and gradients.
    """
    buffers = [] if root is None else [(each, each.clone()) for each in root.buffers() if _can_be_kept(each)]
    devices = {tensor.device.index for tensor, _ in buffers if tensor.is_cuda}
    if root is not None:
        devices |= {parameter.device.index for parameter in root.parameters() if parameter.is_cuda}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.random.fork_rng(devices=sorted(devices)):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):  # batch norm does not raise the version of what it writes
                    buffer.copy_(value)


def _can_be_kept(buffer: torch.Tensor) -> bool:
    without_data = buffer.is_meta or isinstance(buffer, FakeTensor)
    return not (without_data or buffer.is_inference() or nn.parameter.is_lazy(buffer))

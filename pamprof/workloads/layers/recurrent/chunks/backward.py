"""The backward of the chunk-parallel recurrence.

It needs no matrix of decay gradients: a decay acts on all pairs that it lies between, so its gradient is a sum of row
sums minus column sums of gradient times score, both in float32 from the same numbers, so that they cancel exactly.

Axes: B batch, H heads, K states, N chunks, C chunk, d head_dim, m planes (2 complex, 1 real).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pamprof.workloads.layers.recurrent.chunks.decay import (
    decay_across,
    decay_inside,
    decayed_to_end,
    each_state,
    from_start_of,
    mixed_decay,
    mixed_decay_gradient,
    read_of,
    summed_from,
    summed_up_to,
)
from pamprof.workloads.layers.recurrent.chunks.planes import (
    both_planes,
    product,
    product_with_conjugate,
    times_conjugate,
    turn,
    turn_back,
)


def core_backward(  # noqa: PLR0915 - one chain rule, read from top to bottom
    gradient: Tensor, saved: tuple[Any, ...], planes: int
) -> tuple[Tensor | None, ...]:
    """Gradients of queries, keys, values, log decay and coefficients (None for one state), from what was saved."""
    queries, keys, values, log_decay, coefficients, scores, *kept = saved
    head_dim = queries.shape[-1] // planes
    dtype, precise = queries.dtype, log_decay.dtype
    states = each_state(log_decay, coefficients)
    scores_gradient = gradient @ values.mT
    of_coefficients = None
    if coefficients is None:
        decay = decay_inside(states[0][0], head_dim)
        values_gradient = scores.mT @ gradient
        pairs = torch.unflatten((scores_gradient.to(precise) * scores), -1, (planes, -1)).sum(-2)
        of_sums = [pairs.sum(-1) - pairs.sum(-2)]
        undecayed = torch.unflatten(scores_gradient, -1, (planes, -1)) * decay.unsqueeze(-2)
    else:
        sums = torch.stack([cumulative for cumulative, _ in states], 2)
        mixed = mixed_decay(sums, coefficients, head_dim)
        scores, pulls = (torch.unflatten(each, -1, (planes, -1)) for each in (scores, scores_gradient))
        values_gradient = product(scores, mixed).flatten(-2).to(dtype).mT @ gradient
        undecayed = product_with_conjugate(mixed, pulls)
        mixed_gradient = product_with_conjugate(scores.to(precise), pulls.to(precise))
        stacked, of_coefficients = mixed_decay_gradient(mixed_gradient, sums, coefficients, head_dim)
        of_sums = list(stacked.unbind(2))
    undecayed = undecayed.flatten(-2).to(dtype)
    queries_gradient = undecayed @ keys
    keys_gradient = undecayed.mT @ queries
    if not kept:
        return queries_gradient, keys_gradient, values_gradient, _joined(of_sums, coefficients), of_coefficients

    log_decay_gradients, coefficient_gradients = [], []
    for number, (cumulative, coefficient) in enumerate(states):
        written, entering = kept[number], kept[len(states) + number]
        total = cumulative[..., -1]
        across = decay_across(summed_up_to(total))
        to_end = (total[..., None] - cumulative).exp()
        from_start = from_start_of(cumulative, head_dim)
        weighted = decayed_to_end(keys[..., :head_dim], to_end, planes)

        entering_gradient = read_of(queries, cumulative, coefficient, head_dim).mT @ gradient
        if planes == 2:
            upper, lower = entering_gradient.chunk(2, -2)
            entering_gradient = upper + turn_back(lower)
        read_gradient = (gradient @ both_planes(entering, planes).mT) * from_start
        if coefficient is not None:
            along = [read_gradient * queries] + ([read_gradient * turn(queries)] if planes == 2 else [])
            coefficient_gradients.append(torch.stack([each.sum(-1) for each in along], -1))
            read_gradient = times_conjugate(read_gradient, coefficient)
        cumulative_gradient = of_sums[number] + (read_gradient * queries).sum(-1)
        queries_gradient = (queries_gradient + read_gradient).to(dtype)

        flat_gradient = entering_gradient.flatten(-2)
        written_gradient = torch.unflatten((across.to(dtype).mT @ flat_gradient), -1, written.shape[-2:])
        chunk_pairs = (flat_gradient @ written.flatten(-2).mT).to(precise) * across
        # Row t is the decay through the chunk before t, column s the decay after chunk s.
        through_gradient = torch.nn.functional.pad(chunk_pairs.sum(-1)[..., 1:], (0, 1)) - chunk_pairs.sum(-2)
        total_gradient = summed_from(through_gradient)

        weighted_gradient = values @ written_gradient.mT
        values_gradient = torch.unflatten(
            torch.baddbmm(values_gradient.flatten(0, 2), weighted.flatten(0, 2), written_gradient.flatten(0, 2)),
            0,
            values_gradient.shape[:3],
        )
        to_end_gradient = torch.unflatten((weighted_gradient.to(precise) * weighted).sum(-1), -1, (planes, -1)).sum(-2)
        cumulative_gradient = cumulative_gradient - to_end_gradient
        total_gradient = total_gradient + to_end_gradient.sum(-1)
        first_plane = decayed_to_end(weighted_gradient, to_end, planes)
        if planes == 2:
            first_plane = torch.nn.functional.pad(first_plane, (0, head_dim))
        keys_gradient = keys_gradient + first_plane
        log_decay_gradients.append(summed_from(cumulative_gradient) + total_gradient[..., None])
    if of_coefficients is not None:
        of_coefficients = of_coefficients + torch.stack(coefficient_gradients, 2)
    joined = log_decay_gradients[0] if coefficients is None else torch.stack(log_decay_gradients, 2)
    return queries_gradient, keys_gradient, values_gradient, joined, of_coefficients


def _joined(of_sums: list[Tensor], coefficients: Tensor | None) -> Tensor:
    """Gradients of log decays from those of their running sums, of all states."""
    return summed_from(of_sums[0] if coefficients is None else torch.stack(of_sums, 2))

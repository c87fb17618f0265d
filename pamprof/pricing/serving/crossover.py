"""Serving economics by formula: where a fixed state and a growing cache cost the same, and what a demand costs a month.

Every number here is modelled (``Basis.MODEL``): bytes and FLOPs divided by a device's bandwidth and peak. A decoded
token of a transformer reads its whole cache (kappa x context bytes), a token of a fixed-state layer reads and writes
its state (2 x S bytes), so the two move the same bytes at 2 S / kappa tokens of context, and take the same memory at
S / kappa. Below, the transformer is the cheaper one; above, the fixed state is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING

from pamprof.errors import SpecError
from pamprof.units import HOURS_PER_MONTH

if TYPE_CHECKING:
    from decimal import Decimal

SECONDS_PER_DAY = 86_400
USABLE_MEMORY_SHARE = 0.9


def kv_bytes_per_token(*, layer_count: int, kv_head_count: int, head_dim: int, bytes_per_element: int) -> int:
    """Kappa, the bytes one token of context adds to a key-value cache: a key and a value in every layer."""
    return 2 * layer_count * kv_head_count * head_dim * bytes_per_element


def fixed_state_bytes(
    *, layer_count: int, head_count: int, head_dim: int, bytes_per_real: int, states_per_head: int = 1
) -> int:
    """S, the bytes of a complex state [layers, heads, head_dim, head_dim] of two reals an element, K times."""
    return layer_count * head_count * head_dim**2 * 2 * bytes_per_real * states_per_head


def memory_crossover_tokens(state_bytes: float, kv_bytes_per_token: float) -> float:
    """S / kappa: the context at which both take the same memory, so that equally many sequences fit."""
    _above_zero(state_bytes=state_bytes, kv_bytes_per_token=kv_bytes_per_token)
    return state_bytes / kv_bytes_per_token


def traffic_crossover_tokens(state_bytes: float, kv_bytes_per_token: float) -> float:
    """2 S / kappa: the context at which a decode step moves the same bytes; twice the memory crossover."""
    return 2 * memory_crossover_tokens(state_bytes, kv_bytes_per_token)


def batch_that_fits(
    *,
    memory_bytes: float,
    weight_bytes: float,
    reserved_bytes: float,
    bytes_per_sequence: float,
    usable_share: float = USABLE_MEMORY_SHARE,
) -> int:
    """Sequences a device holds at once; 0 where not even one fits.

    Args:
        memory_bytes: The device's memory.
        weight_bytes: The model's parameters.
        reserved_bytes: Set aside for activations, logits and the driver's context.
        bytes_per_sequence: kappa x context for a cache, S for a fixed state.
        usable_share: Share of the memory that may be filled, in (0, 1].
    """
    _above_zero(memory_bytes=memory_bytes, bytes_per_sequence=bytes_per_sequence, usable_share=usable_share)
    return max(0, floor((usable_share * memory_bytes - weight_bytes - reserved_bytes) / bytes_per_sequence))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRoof:
    """What bounds a decode step on one device, and the model's share of it.

    Attributes:
        weight_bytes: Parameters, read once a step whatever the batch.
        moved_bytes_per_sequence: kappa x context (read) for a cache, 2 x S (read and written) for a fixed state.
        flop_per_token: Matrix FLOPs of one decoded token.
        bandwidth_bytes_per_second: The device's memory bandwidth.
        peak_flops_per_second: The device's dense peak for the dtype.
        peak_share: Alpha, the reachable share of the peak.
        bandwidth_share: Beta, the reachable share of the bandwidth.
        fixed_seconds: t0, time a step takes however small it is.
    """

    weight_bytes: float
    moved_bytes_per_sequence: float
    flop_per_token: float
    bandwidth_bytes_per_second: float
    peak_flops_per_second: float
    peak_share: float = 0.5
    bandwidth_share: float = 0.8
    fixed_seconds: float = 0.0

    def step_floor_seconds(self, batch_size: int) -> float:
        """The shortest a decode step of ``batch_size`` sequences can take: max(traffic, arithmetic) + t0, seconds."""
        traffic = self.weight_bytes + batch_size * self.moved_bytes_per_sequence
        return self.fixed_seconds + max(
            traffic / (self.bandwidth_share * self.bandwidth_bytes_per_second),
            batch_size * self.flop_per_token / (self.peak_share * self.peak_flops_per_second),
        )

    def largest_batch_within(self, seconds_per_output_token: float) -> int:
        """Most sequences whose step stays within the time allowed for an output token; 0 where not even one does."""
        available = seconds_per_output_token - self.fixed_seconds
        traffic = available * self.bandwidth_share * self.bandwidth_bytes_per_second - self.weight_bytes
        arithmetic = available * self.peak_share * self.peak_flops_per_second
        batch = max(0, floor(min(traffic / self.moved_bytes_per_sequence, arithmetic / self.flop_per_token)))
        # The division may round up past the limit by one sequence.
        return batch - 1 if batch and self.step_floor_seconds(batch) > seconds_per_output_token else batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPoint:
    """The batch at which one device decodes within its limits, or why there is none.

    Attributes:
        batch_size: Sequences a step; 0 where infeasible.
        tokens_per_second: Decoded by one device; None where infeasible.
        bound: What keeps the batch from growing: ``memory`` or ``time per output token``.
        infeasible: ``infeasible: memory …`` or ``infeasible: time per output token …`` with the binding number;
            None where feasible.
    """

    batch_size: int
    tokens_per_second: float | None
    bound: str
    infeasible: str | None


def serving_point(roof: DecodeRoof, *, fitting_batch: int, seconds_per_output_token: float) -> ServingPoint:
    """The largest batch that fits the memory and the time per output token; throughput only grows with the batch.

    Args:
        roof: What bounds a step.
        fitting_batch: From ``batch_that_fits``.
        seconds_per_output_token: The time allowed for an output token.
    """
    timely_batch = roof.largest_batch_within(seconds_per_output_token)
    bound = "memory" if fitting_batch <= timely_batch else "time per output token"
    if fitting_batch < 1:
        reason = "infeasible: memory, no sequence fits beside the weights"
        return ServingPoint(batch_size=0, tokens_per_second=None, bound="memory", infeasible=reason)
    if timely_batch < 1:
        reason = (
            f"infeasible: time per output token, {roof.step_floor_seconds(1) * 1e3:.3g} ms for one sequence "
            f"against {seconds_per_output_token * 1e3:.3g} ms allowed"
        )
        return ServingPoint(batch_size=0, tokens_per_second=None, bound=bound, infeasible=reason)
    batch = min(fitting_batch, timely_batch)
    rate = batch / roof.step_floor_seconds(batch)
    return ServingPoint(batch_size=batch, tokens_per_second=rate, bound=bound, infeasible=None)


def peak_tokens_per_second(tokens_per_day: float, peak_factor: float) -> float:
    """The demand to be ready for: the day's mean rate times ``peak_factor``."""
    return tokens_per_day / SECONDS_PER_DAY * peak_factor


def replicas(peak_tokens_per_second: float, tokens_per_second_at_slo: float, minimum: int = 1) -> int:
    """Devices that meet a peak demand: the ratio rounded up, at least ``minimum``."""
    _above_zero(tokens_per_second_at_slo=tokens_per_second_at_slo)
    return max(minimum, ceil(peak_tokens_per_second / tokens_per_second_at_slo))


def monthly_bill_usd(replica_count: int, usd_per_device_hour: Decimal) -> Decimal:
    """Replicas x USD per device-hour x 730 hours: the rented time, idle included."""
    return replica_count * usd_per_device_hour * HOURS_PER_MONTH


def break_even_tokens_per_day(tokens_per_second_at_slo: float, peak_factor: float, replica_count: int = 1) -> float:
    """The largest daily demand ``replica_count`` devices carry; up to it a cheaper model saves no device."""
    _above_zero(tokens_per_second_at_slo=tokens_per_second_at_slo, peak_factor=peak_factor)
    return replica_count * tokens_per_second_at_slo * SECONDS_PER_DAY / peak_factor


def _above_zero(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise SpecError(f"{name} {value} must lie above zero; check the sizes it comes from")

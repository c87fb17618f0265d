"""A serving curve: what one arm takes for a decode step and a prompt, and how many sequences fit, where that is known.

Inside the measured hull it interpolates in the logarithms, with an interval that holds affine interpolation, too;
beyond, it asks a roofline calibrated on the same runs, says so and refuses where that was off by more than 30 % at any
measured place. What does not fit the memory is infeasible and has no time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving import sentences
from pamprof.analysis.serving.estimate import Estimate
from pamprof.analysis.serving.grid import interpolate, largest_left_out_error, measured_at
from pamprof.errors import UnsupportedError
from pamprof.records import Interval
from pamprof.units import binary_bytes, percent, tokens

if TYPE_CHECKING:
    from pamprof.analysis.serving.grid import Line
    from pamprof.analysis.serving.memory import ServingMemory
    from pamprof.analysis.serving.roofline import DecodeRoofline, Fit, PrefillRoofline
    from pamprof.records import Environment, Run, Workload

LARGEST_MODEL_ERROR = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedFrom:
    """Where the times of a curve were measured, if not on its own device.

    Attributes:
        gpu: Canonical name.
        low_ratio, high_ratio: Ends of the widest interval of its steps over their medians.
    """

    gpu: str
    low_ratio: float
    high_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCurve:
    """One arm on one device.

    Attributes:
        title: Short name, unique among the curves it was made with.
        arm: The first of its workloads: sizes, implementation, execution and dtype are those of all of them.
        environment: The device.
        runs: Everything it is made of, decode first.
        decode_lines: Measured steps by context; one line for a fixed state that was found constant.
        context_range: Smallest and largest context measured.
        context_deviation: Largest relative difference between contexts at one batch, of a fixed state; None for a
            cache, and where one context was measured.
        prompts: Measured prompts, a line of its own: length and seconds.
        measured_lines: Lines as measured, before any were joined.
        limits: Context, largest batch that ran and smallest that cannot fit, where batches were raised to the end.
        memory: Bytes by batch and context.
        decode_model, prefill_model: Rooflines; None where too little was measured to calibrate one.
        carried: Set where its times were measured on another GPU and carried to this one: all of it is then modelled.
    """

    title: str
    arm: Workload
    environment: Environment
    runs: tuple[Run, ...]
    decode_lines: tuple[Line, ...]
    context_range: tuple[int, int]
    context_deviation: float | None
    prompts: Line | None
    measured_lines: tuple[Line, ...]
    limits: tuple[tuple[int, int, int], ...]
    memory: ServingMemory
    decode_model: DecodeRoofline | None
    prefill_model: PrefillRoofline | None
    carried: CarriedFrom | None = None
    _decoded: dict[tuple[int, int], Estimate] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def fixed_state(self) -> bool:
        """Whether a sequence keeps the same bytes at every context."""
        return self.memory.state.bytes_per_token == 0

    def decode_seconds(self, batch_size: int, context: int) -> Estimate:
        """One step of ``batch_size`` sequences that hold ``context`` tokens, seconds.

        Answers are kept: bills of one page ask for the same places thousands of times.

        Raises:
            UnsupportedError: Infeasible by memory, or beyond the measured hull without a model that can be believed.
        """
        place = batch_size, context
        if place not in self._decoded:
            self._decoded[place] = self._as_carried(self._decode_seconds(batch_size, context))
        return self._decoded[place]

    def _decode_seconds(self, batch_size: int, context: int) -> Estimate:
        found, affine = (self._inside(batch_size, context, affine=affine) for affine in (False, True))
        if found is not None and affine is not None:
            if found == measured_at(self.measured_lines, batch_size, context):
                return _measured(found)
            return _interpolated(found, affine, self.decode_lines)
        self._refuse_what_does_not_fit(batch_size, context)
        model = self.decode_model
        place = sentences.DECODE_PLACE.format(batch=batch_size, context=tokens(context))
        if model is None:
            raise UnsupportedError(sentences.TOO_LITTLE_FOR_A_MODEL.format(place=place, arm=self.title))
        return _modelled(
            model.seconds(batch_size, context), model.fit, sentences.PLACE_OF_ARM.format(place=place, arm=self.title)
        )

    def prefill_seconds(self, prompt_length: int) -> Estimate:
        """One prompt of ``prompt_length`` tokens read by one sequence, seconds: the time to first token when idle.

        Raises:
            UnsupportedError: Beyond the measured prompts without a model that can be believed.
        """
        return self._as_carried(self._prefill_seconds(prompt_length))

    def _prefill_seconds(self, prompt_length: int) -> Estimate:
        found, affine = (
            None if self.prompts is None else self.prompts.at(prompt_length, affine=affine) for affine in (False, True)
        )
        if self.prompts is not None and found is not None and affine is not None:
            if any(length == prompt_length for length, _ in self.prompts.points):
                return _measured(found)
            return _interpolated(found, affine, (self.prompts,))
        place = sentences.PROMPT_PLACE.format(prompt=tokens(prompt_length))
        if self.prefill_model is None:
            raise UnsupportedError(sentences.TOO_LITTLE_FOR_A_MODEL.format(place=place, arm=self.title))
        model = self.prefill_model
        return _modelled(
            model.seconds(prompt_length), model.fit, sentences.PLACE_OF_ARM.format(place=place, arm=self.title)
        )

    def maximum_batch(self, context: int) -> Estimate:
        """Sequences of ``context`` tokens that fit; measured where batches were raised until memory ended."""
        limits = {at: (largest, refused) for at, largest, refused in self.limits}
        if context in limits or (self.fixed_state and limits):
            largest, refused = limits[context] if context in limits else next(iter(limits.values()))
            first, last = self.context_range
            inferred = Basis.INTERPOLATED if first <= context <= last else Basis.MODELLED
            return Estimate(
                value=largest,
                interval=Interval(low=largest, median=largest, high=refused - 1, confidence=1.0),
                basis=Basis.MEASURED if context in limits else inferred,
                error=None,
            )
        ends = [limit[0] for limit in self.limits]
        inside = bool(ends) and min(ends) <= context <= max(ends)
        return Estimate(
            value=self.memory.sequences_that_fit(context),
            interval=None,
            basis=Basis.INTERPOLATED if inside else Basis.MODELLED,
            error=self.limit_error,
        )

    def _as_carried(self, found: Estimate) -> Estimate:
        """``found`` of a carried curve: modelled, and beyond its steps with the widest interval of them."""
        if self.carried is None:
            return found
        interval = found.interval
        if found.basis is Basis.MODELLED and interval is not None:
            low, high = interval.low * self.carried.low_ratio, interval.high * self.carried.high_ratio
            interval = replace(interval, low=low, high=high)
        return replace(found, basis=Basis.MODELLED, interval=interval, error=None)  # the error of the carrying is in it

    def _inside(self, batch_size: int, context: int, *, affine: bool) -> Interval | None:
        """A step inside the measured hull; None outside."""
        first, last = self.context_range
        if self.fixed_state and len(self.decode_lines) == 1 and first <= context <= last:
            return self.decode_lines[0].at(batch_size, affine=affine)
        return interpolate(self.decode_lines, batch_size, context, affine=affine)

    def _refuse_what_does_not_fit(self, batch_size: int, context: int) -> None:
        fits = self.maximum_batch(context)
        most = fits.value if fits.interval is None else fits.interval.high
        if batch_size > most:
            raise UnsupportedError(
                sentences.DOES_NOT_FIT.format(
                    batch=batch_size,
                    context=tokens(context),
                    needed=binary_bytes(self.memory.bytes_of(batch_size, context)),
                    capacity=binary_bytes(self.memory.capacity_bytes),
                    most=int(most),
                    basis=fits.basis,
                )
            )

    @property
    def limit_error(self) -> float | None:
        """Largest relative error of the predicted limits where limits were measured."""
        return max(
            (abs(self.memory.sequences_that_fit(context) / largest - 1) for context, largest, _ in self.limits),
            default=None,
        )


def _measured(found: Interval) -> Estimate:
    return Estimate(value=found.median, interval=found, basis=Basis.MEASURED, error=None)


def _interpolated(found: Interval, affine: Interval, lines: tuple[Line, ...]) -> Estimate:
    """In the logarithms; the interval holds the affine answer with its own."""
    return Estimate(
        value=found.median,
        interval=found.holding(affine),
        basis=Basis.INTERPOLATED,
        error=largest_left_out_error(lines),
        affine=affine,
    )


def _modelled(value: float, fit: Fit, place: str) -> Estimate:
    """A model's answer; its interval is its largest error.

    One more place like the n measured ones would exceed it with a chance of one in n + 1.
    """
    error = fit.largest_error
    if error > LARGEST_MODEL_ERROR:
        raise UnsupportedError(
            sentences.MODEL_ERROR_TOO_LARGE.format(
                place=place, error=percent(error), allowed=percent(LARGEST_MODEL_ERROR)
            )
        )
    return Estimate(
        value=value,
        interval=Interval(
            low=value * (1 - error), median=value, high=value * (1 + error), confidence=fit.places / (fit.places + 1)
        ),
        basis=Basis.MODELLED,
        error=error,
    )

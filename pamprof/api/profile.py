"""``pamprof.profile``: what a training loop costs, measured around it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pamprof.api.prices import ON_DEMAND, price_lookup
from pamprof.errors import UsageError

if TYPE_CHECKING:
    from types import TracebackType

    from pandas import DataFrame
    from torch import nn

    from pamprof.measure.training.loop import TrainingLoop
    from pamprof.records import TrainingProfile
    from pamprof.render.training.figures import TrainingView


class profile:  # noqa: N801 - called like a function, entered like a file
    """Profile a training loop: time a step, memory and its parts, power, utilisation, MFU, dollars.

        with pamprof.profile(tokens=batch * length) as run:
            for inputs in loader:
                train(inputs)
        print(run)

    The loop may be another's: ``trainer.train()`` of ``transformers.Trainer``, ``trainer.fit(...)`` of Lightning, one
    of Accelerate. Where it has callbacks, one may call ``start`` when training begins and ``stop`` when it ends:

        class Profiled(transformers.TrainerCallback):
            run = pamprof.profile(tokens=batch * length, accumulate=4)

            def on_train_begin(self, args, state, control, **rest):
                self.run.start()

            def on_train_end(self, args, state, control, **rest):
                self.run.stop()

    A step ends when an optimizer of torch has stepped (of several, the first that does), or, where ``run.step()`` is
    called, there. The first step is a warm-up. The second is counted and its memory followed; it runs eagerly, which
    takes long, and more memory than compiled code, and is not timed (``count=False`` leaves that out). From the third
    on a clock is read at the end of each step, CUDA events on a GPU, and the device's sensors are polled five times a
    second: less than 1 % of a step of 10 ms (``benchmarks/profile_overhead.py``).

    Attributes:
        record: What was measured, once the loop is over: see ``pamprof.records.TrainingProfile``.

    Args:
        tokens: Tokens of one forward and backward pass. Default: unknown, and with it tokens per second and dollars.
        accumulate: Such passes (micro-batches) of one optimizer step.
        model: What is trained. Default: the modules that hold the optimizer's parameters.
        count: Whether the second step is counted and its memory followed; without, no FLOPs, no MFU, no memory.
        price: Your rate of the device, USD per hour; on a CPU of the vCPUs used. Default: that of the price list.
        prices: Your price list, CSV as ``pamprof prices list --csv`` prints it.
        gpu: Price it as this device. Default: the one it ran on.
        provider: Of the rate. Default: the median provider.
        instance: Price it as on this machine of the price list.
        purchase_option: ``on-demand``, ``spot``, or a committed option of the price list.

    Raises:
        UsageError: ``tokens`` or ``accumulate`` is not positive, or a figure is asked for before the loop is over.
        PriceError: At the loop's end, where the price that was asked for cannot be had.
    """

    def __init__(
        self,
        *,
        tokens: int | None = None,
        accumulate: int = 1,
        model: nn.Module | None = None,
        count: bool = True,
        price: float | str | None = None,
        prices: str | Path | None = None,
        gpu: str | None = None,
        provider: str | None = None,
        instance: str | None = None,
        purchase_option: str = ON_DEMAND,
    ) -> None:
        for name, value in (("tokens", tokens), ("accumulate", accumulate)):
            if value is not None and value < 1:
                raise UsageError(f"{name}={value} is no number of {name}; give 1 or more")
        self._tokens_per_step = None if tokens is None else tokens * accumulate
        self._accumulate = accumulate
        self._model = model
        self._count = count
        self._price = price_lookup(
            price=price,
            prices=prices,
            gpu=gpu,
            provider=provider,
            instance=instance,
            purchase_option=purchase_option,
        )
        self._loop: TrainingLoop | None = None
        self._record: TrainingProfile | None = None

    def start(self) -> Self:
        """Begin, where no ``with`` can stand, as in a callback; ``stop`` has to follow.

        Raises:
            UsageError: It has begun before: a profile is of one loop.
        """
        from pamprof.measure.training.loop import TrainingLoop

        if self._loop is not None:
            raise UsageError("a profile is of one loop; make another with pamprof.profile(...)")
        self._loop = TrainingLoop(
            tokens_per_step=self._tokens_per_step,
            accumulation=self._accumulate,
            model=self._model,
            counted=self._count,
        )
        self._loop.begin()
        return self

    def stop(self) -> None:
        """The loop is over: ``record`` and the figures are there.

        Raises:
            UsageError: It has not begun, or is over.
            PriceError: The price that was asked for cannot be had.
        """
        if self._loop is None or self._record is not None:
            raise UsageError("run.stop() ends a profile that run.start() began; call it once, after the loop")
        self._record = self._loop.end(self._price)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the profile; after an interrupt the steps until then count, any other error leaves none."""
        if kind is None or kind is KeyboardInterrupt:
            self.stop()
        elif self._loop is not None:
            self._loop.abandon()

    def step(self) -> None:
        """An optimizer step ends here; from the first call on, only these calls end steps.

        Raises:
            UsageError: Before the profile began, or after it ended.
        """
        if self._loop is None or self._record is not None:
            raise UsageError("run.step() ends a step inside the with statement of its profile; call it there")
        self._loop.step()

    @property
    def record(self) -> TrainingProfile:
        """What was measured."""
        if self._record is None:
            raise UsageError("the profiled loop is not over; read its figures after the with statement")
        return self._record

    @cached_property
    def _view(self) -> TrainingView:
        from pamprof.render.training.figures import training_view

        return training_view(self.record)

    def to_frame(self) -> DataFrame:
        """One row: every figure with its unit at the end of the column's name; an unknown one is ``NA``."""
        from pamprof.render.formats.training import training_frame

        return training_frame((self.record,))

    def save(self, path: str | Path) -> Path:
        """Append the record to a file of records, which is made if missing; ``pamprof.load`` reads it.

        Raises:
            OutputError: The file cannot be written.
        """
        from pamprof.records.store import RunStore

        store = RunStore(Path(path))
        try:
            store.append(self.record)
        finally:
            store.close()
        return store.path

    def __repr__(self) -> str:
        from pamprof.render.training.figures import training_text

        return "pamprof.profile(…), not over" if self._record is None else training_text(self._view)

    def _repr_html_(self) -> str | None:
        """For notebooks: light and dark, without a script, without style beyond it; None until it is over."""
        from pamprof.render.formats.html import render_training

        return None if self._record is None else render_training((self._view,))

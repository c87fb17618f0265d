"""Published training speeds beside predictions for the same GPUs; they are compared and never fitted."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.analysis.prediction.gpu import gpu_named
from pamprof.analysis.prediction.predict import predictions_on
from pamprof.records import Execution, Phase

if TYPE_CHECKING:
    from pamprof.analysis.prediction.measured import MeasuredDevices
    from pamprof.analysis.prediction.predict import Prediction

SPEEDS_FILE = Path(__file__).with_name("published_speeds.csv")
# Published steps were compiled; a replayed step shows what the GPU alone allows, whatever the host.
_EXECUTIONS = (Execution.COMPILED, Execution.COMPILED_GRAPH)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSpeed:
    """A training speed that others measured: bfloat16 autocast, torch.compile, no checkpointing.

    Attributes:
        gpu: Canonical name.
        layer, implementation, chunk_size, batch_size, sequence_length: What they trained.
        tokens_per_second: Least and most of their runs.
        source: Where it was read.
    """

    gpu: str
    layer: str
    implementation: str
    chunk_size: int | None
    batch_size: int
    sequence_length: int
    tokens_per_second: tuple[float, float]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BesidePublished:
    """A published speed and the prediction for the measured batch nearest to its own."""

    published: PublishedSpeed
    prediction: Prediction

    @property
    def is_inside(self) -> bool | None:
        """Whether the published speed lies in the interval; None where the workload is predicted not to fit."""
        predicted = self.prediction.tokens_per_second
        if predicted is None:
            return None
        low, high = self.published.tokens_per_second
        return low <= predicted.high and high >= predicted.low


def published_speeds() -> tuple[PublishedSpeed, ...]:
    """Every row of the file."""
    with SPEEDS_FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedSpeed(
                gpu=row["gpu"],
                layer=row["layer"],
                implementation=row["implementation"],
                chunk_size=int(row["chunk_size"]) if row["chunk_size"] else None,
                batch_size=int(row["batch_size"]),
                sequence_length=int(row["sequence_length"]),
                tokens_per_second=(float(row["tokens_per_second_low"]), float(row["tokens_per_second_high"])),
                source=row["source"],
            )
            for row in csv.DictReader(file)
        )


def beside_published(measured: MeasuredDevices) -> tuple[BesidePublished, ...]:
    """Every published speed whose workload, at some batch, is among those measured."""
    found = []
    for speed in published_speeds():
        predictions = [each for each in predictions_on(gpu_named(speed.gpu), measured) if _is_alike(each, speed)]
        for execution in _EXECUTIONS:
            of_execution = [each for each in predictions if each.workload.execution is execution]
            if of_execution:
                nearest = min(of_execution, key=lambda each: _batches_apart(each, speed))
                found.append(BesidePublished(published=speed, prediction=nearest))
    return tuple(found)


def _batches_apart(prediction: Prediction, speed: PublishedSpeed) -> float:
    return abs(log(prediction.workload.batch_size / speed.batch_size))


def _is_alike(prediction: Prediction, speed: PublishedSpeed) -> bool:
    workload = prediction.workload
    return (
        workload.phase is Phase.TRAIN
        and (workload.spec.layer, workload.implementation) == (speed.layer, speed.implementation)
        and workload.spec.chunk_size == speed.chunk_size
        and workload.sequence_length == speed.sequence_length
    )

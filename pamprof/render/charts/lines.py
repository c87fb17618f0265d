"""What lines and curves show: arms over batch size, context or another quantity, and named places on that axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Basis
    from pamprof.records import Interval
    from pamprof.render.arms import Arm

Unit = Literal["tokens", "count", "seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A named place on the axis of sizes, such as a crossover; ``basis`` is None where the place was given."""

    x: Interval
    text: str
    basis: Basis | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmLine:
    """One arm over an axis of sizes."""

    arm: Arm
    xs: tuple[float, ...]
    values: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePanel:
    """Lines over batch size or context; ``note`` stands under the title, such as why there is no crossover."""

    title: str
    x_label: str
    lines: tuple[ArmLine, ...]
    marks: tuple[Mark, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of a curve on one basis; neighbours share the place where they meet."""

    xs: tuple[float, ...]
    values: tuple[Interval, ...]
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place on a curve that gets the arm's shape, filled, half filled or hollow by its basis."""

    x: float
    value: Interval
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCurve:
    """One arm: a line in pieces with the band of its interval, and shapes on it."""

    arm: Arm
    label: str
    pieces: tuple[Piece, ...]
    spots: tuple[Spot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePanel:
    """Curves over one logarithmic axis.

    Attributes:
        title: What is shown, with its size where there are several.
        x_label: Quantity and unit.
        x_unit: How its ticks are written.
        curves: One an arm.
        marks: Named places, such as a crossover or a limit.
        note: A sentence under the title, such as why there is no crossover; empty without one.
        level: A value that is drawn as a horizontal line, such as the 1 of a ratio; None for none.
        level_text: What stands on that line; empty where its value says it.
    """

    title: str
    x_label: str
    x_unit: Unit
    curves: tuple[ArmCurve, ...]
    marks: tuple[Mark, ...] = ()
    note: str = ""
    level: float | None = None
    level_text: str = ""

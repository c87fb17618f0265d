"""The pictures of a load study: how long requests wait, what each rate costs in waiting, and one busy minute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.simulation.measured_times import End
from pamprof.analysis.simulation.minute import MINUTE_SECONDS, busiest_minute
from pamprof.records import Interval
from pamprof.render.arms import Arm, arm_key, assign_arms, layer_titles
from pamprof.render.charts import ArmCurve, Chart, CurvePanel, Mark, Piece, ServingStrip, Spot
from pamprof.render.simulation.measured_view import measured_curves
from pamprof.render.text import days, device_label, listed, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pamprof.analysis.simulation.arm import LoadedArm
    from pamprof.analysis.simulation.measured_elsewhere import MeasuredCurve
    from pamprof.pricing.serving.load_study import ArmUnderLoad, LoadStudy
    from pamprof.records import Session

# Shares of an arm's highest rate at which waiting is drawn with its interval.
_SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
# Shares of the requests that wait longer, drawn from all down to one in five hundred.
_SLOWEST_SHARE = 0.002
_PLACES = 60
FIRST_TOKEN = "level_seconds_to_first_token"
EACH_TOKEN = "level_seconds_per_output_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnArm:
    """An arm with an answer and how it looks."""

    arm: ArmUnderLoad
    loaded: LoadedArm
    look: Arm
    basis: Basis


def load_charts(
    study: LoadStudy, sessions: Iterable[Session] = (), measured: Sequence[MeasuredCurve] = ()
) -> tuple[Chart, ...]:
    """All pictures; one without arms says why."""
    runs = [arm.steady.curve.runs[0] for arm in study.arms]
    looks = assign_arms([run.workload for run in runs], layer_titles(sessions))
    drawn = [
        DrawnArm(
            arm=arm,
            loaded=arm.loaded,
            look=looks[arm_key(arm.steady.curve.runs[0].workload)],
            basis=arm.basis or Basis.MODELLED,
        )
        for arm in study.arms
        if arm.loaded is not None and arm.metrics is not None
    ]
    devices = tuple(dict.fromkeys(device_label(run.environment) for run in runs))
    words = f"{listed(devices)} · measured {days(sorted(run.started_at for run in runs))} · simulated"
    return _distributions(study, drawn, words), _rates(study, drawn, words, measured), _minutes(study, drawn, words)


def _chart(name: str, title: str, axis: str, caption: str, words: str, *, kind: str, panels: Sequence[object]) -> Chart:
    return Chart(
        name=name,
        kind=kind,
        title=title,
        subtitle=words,
        axis=axis,
        caption=caption,
        source="Source: pamprof, step times from the records of the sweep; the simulation is made anew from them.",
        alt=f"{title}.",
        panels=tuple(panels),  # type: ignore[arg-type]  # each caller gives panels of one kind
        reason="" if panels else "no arm holds the limits at any rate",
    )


def _distributions(study: LoadStudy, drawn: Sequence[DrawnArm], words: str) -> Chart:
    level = study.question.level
    allowed = 1 - level.percentile / 100
    found = []
    for title, name, limit in (
        ("To the first token", "seconds_to_first_token", level.limits.seconds_to_first_token),
        ("Per output token", "seconds_per_output_token", level.limits.seconds_per_output_token),
    ):
        curves = [curve for each in drawn if (curve := _slower(each, name)) is not None]
        if curves:
            found.append(
                CurvePanel(
                    title=title,
                    x_label="time (log)",
                    x_unit="seconds",
                    curves=tuple(curves),
                    marks=(Mark(x=Interval.exact(limit), text=f"allowed: {units.seconds(limit)}", basis=None),),
                    level=allowed if allowed > _SLOWEST_SHARE else None,
                    level_text=f"p{level.percentile:g}",
                )
            )
    worst = max(
        ((each.arm.metrics.level_seconds_to_first_token or 0.0, each) for each in drawn if each.arm.metrics),
        key=lambda pair: pair[0],
        default=None,
    )
    title = (
        "No arm serves within the limits"
        if worst is None
        else f"At percentile {level.percentile:g} the first token comes within {units.seconds(worst[0])} with every arm"
    )
    return _chart(
        "load-times",
        title,
        "share of the requests that take longer (logarithmic)",
        "Each curve falls from all requests to the slowest; where it crosses the horizontal line, the share beyond the "
        "level's percentile is left. Right of the vertical line the limit is missed. One replica at its share of the "
        "requests; shades run from all step times at the fast end of their intervals to all at the slow end.",
        words,
        kind="curves",
        panels=found,
    )


def _slower(each: DrawnArm, name: str) -> ArmCurve | None:
    """The share of the requests that take longer, over seconds; by end of the step times."""
    import numpy as np

    rate = each.arm.metrics.requests_per_second if each.arm.metrics else 0.0
    ends: dict[End, NDArray[np.float64]] = {}
    for end in End:
        times = getattr(each.loaded.served(rate, end), name)
        ends[end] = np.sort(times[np.isfinite(times) & (times > 0)])
    piece = tail_piece(ends[End.MEDIAN], tuple(ends.values()), basis=each.basis, confidence=each.arm.confidence)
    return None if piece is None else ArmCurve(arm=each.look, label=each.look.label, pieces=(piece,), spots=())


def tail_piece(
    middle: NDArray[np.float64], every: Sequence[NDArray[np.float64]], *, basis: Basis, confidence: float
) -> Piece | None:
    """The share of the requests that take longer, over seconds; None of fewer than two times.

    Args:
        middle: Times that the line is of, sorted.
        every: Those of the interval around it.
        basis: What the line is.
        confidence: Of the interval.
    """
    import numpy as np

    if len(middle) < 2:
        return None
    shares = np.exp(np.linspace(np.log(0.999), np.log(max(_SLOWEST_SHARE, 1 / len(middle))), _PLACES))
    xs: list[float] = []
    values: list[Interval] = []
    for share in shares:
        x = float(np.quantile(middle, 1 - share, method="inverted_cdf"))
        if xs and x <= xs[-1]:
            continue
        beyond = [float((found > x).mean()) for found in every]
        median = float((middle > x).mean())
        if median <= 0:
            continue
        xs.append(x)
        values.append(Interval(low=max(1e-9, min(beyond)), median=median, high=max(beyond), confidence=confidence))
    return Piece(xs=tuple(xs), values=tuple(values), basis=basis) if len(xs) > 1 else None


def _rates(study: LoadStudy, drawn: Sequence[DrawnArm], words: str, measured: Sequence[MeasuredCurve]) -> Chart:
    level = study.question.level
    percentile = f"p{level.percentile:g}"
    found = []
    for title, name, limit in (
        (f"To the first token, {percentile}", FIRST_TOKEN, level.limits.seconds_to_first_token),
        (f"Per output token, {percentile}", EACH_TOKEN, level.limits.seconds_per_output_token),
    ):
        curves = [curve for each in drawn if (curve := _over_rates(each, name)) is not None]
        curves += measured_curves(measured, first=name == FIRST_TOKEN)
        if curves:
            found.append(
                CurvePanel(
                    title=title,
                    x_label="requests a second of one replica (log)",
                    x_unit="count",
                    curves=tuple(curves),
                    note=f"line: {units.seconds(limit)} allowed",
                    level=limit,
                    level_text="allowed",
                )
            )
    best = next((each for each in drawn if each.arm.highest_per_second is not None), None)
    title = (
        "No arm holds the limits at any rate"
        if best is None or best.arm.highest_per_second is None
        else f"{best.arm.title} holds the limits up to {units.significant(best.arm.highest_per_second.median)} "
        "requests a second, the most of all arms"
    )
    return _chart(
        "load-rates",
        title,
        "time (logarithmic)",
        f"Time at percentile {level.percentile:g} against the rate of one replica, the same requests at every rate; "
        "the mark is the highest rate that holds both limits. Shades run from all step times at the fast end of their "
        "intervals to all at the slow end, up to four fifths of that rate."
        + (" Solid lines were measured of real servers by other tools." if measured else ""),
        words,
        kind="curves",
        panels=found,
    )


def _over_rates(each: DrawnArm, name: str) -> ArmCurve | None:
    highest = each.arm.highest_per_second
    if highest is None:
        return None
    places: dict[float, Interval] = {}
    for share in _SHARES:
        rate = share * highest.median
        values = [getattr(each.loaded.metrics(rate, end), name) for end in End]
        if all(value is not None for value in values):
            median = values[list(End).index(End.MEDIAN)]
            places[rate] = Interval(low=min(values), median=median, high=max(values), confidence=each.arm.confidence)
    for tried in each.arm.highest[End.MEDIAN].tried:
        value = getattr(tried, name)
        if value is not None and value != float("inf") and tried.requests_per_second >= max(places, default=0.0):
            places[tried.requests_per_second] = Interval.exact(value)
    xs = sorted(places)
    if len(xs) < 2:
        return None
    spot = places.get(highest.median)
    return ArmCurve(
        arm=each.look,
        label=each.look.label,
        pieces=(Piece(xs=tuple(xs), values=tuple(places[x] for x in xs), basis=each.basis),),
        spots=() if spot is None else (Spot(x=highest.median, value=spot, basis=each.basis),),
    )


def _minutes(study: LoadStudy, drawn: Sequence[DrawnArm], words: str) -> Chart:
    strips, waiting = [], []
    for each in drawn:
        rate = each.arm.metrics.requests_per_second if each.arm.metrics else 0.0
        minute = busiest_minute(each.loaded.served(rate, timeline=True))
        waiting.append((minute.most_waiting, each.look.label))
        strips.append(
            ServingStrip(
                arm=each.look,
                title=f"{each.look.label} at {units.significant(rate)} requests a second",
                seconds=minute.seconds,
                reading=minute.reading,
                decoding=minute.decoding,
                running=minute.running,
                waiting=minute.waiting,
                most=max(minute.most_running, minute.most_waiting),
            )
        )
    most = max(waiting, key=lambda pair: pair[0], default=None)
    whole = f" (a run shorter than {MINUTE_SECONDS:g} s is shown whole)"
    title = (
        "No arm serves within the limits"
        if most is None
        else f"In the busiest minute at most {plural(most[0], 'request')} at once had no first token, with {most[1]}"
    )
    return _chart(
        "load-minute",
        title,
        "across: seconds; upper band: share of the device's time; lower band: how many sequences",
        f"One replica in its busiest minute{whole}. Upper band: the device decodes (grey) and reads prompts (colour), "
        "idle where it is blank. Lower band: sequences that decode (line) and requests that wait for their first token "
        "(filled), each the mean of a 240th of the time; the number at its top is the most at one moment.",
        words,
        kind="gantt",
        panels=strips,
    )

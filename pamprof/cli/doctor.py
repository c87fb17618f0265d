"""``pamprof doctor``: what this machine can measure, and how small a difference it resolves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.cli.options import Json, reporting_errors
from pamprof.cli.output import print_json, print_table

if TYPE_CHECKING:
    from pamprof.hardware.device import Device


@reporting_errors
def doctor(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    noise: Annotated[
        bool, typer.Option("--noise", help="Measure identical code against itself for 3 seconds instead.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what this machine can measure, and why not the rest. With --noise, say how small a difference it can tell."""
    from pamprof.hardware.device import open_device
    from pamprof.measure.machine.doctor import diagnose

    opened = open_device(device)
    if noise:
        _noise(opened, json=json)
        return
    found = diagnose(opened)
    if json:
        print_json(found)
        return
    print_table(
        ("", "what", "found", "remedy"),
        [
            ("yes" if capability.available else "no", capability.name, capability.detail, capability.remedy or "")
            for capability in found
        ],
    )


def _noise(device: Device, *, json: bool) -> None:
    from pamprof.measure.machine.noise import measure_noise

    floor = measure_noise(device)
    if json:
        print_json(floor)
        return
    print_table(
        ("A against A", "found", "meaning"),
        [
            (
                "half width of the ratio's interval",
                f"±{floor.half_width:.2%}",
                f"differences below it are not resolved by {floor.samples} pairs",
            ),
            ("median ratio less 1", f"{floor.median_deviation:+.2%}", "nothing differs, so all of it is noise"),
            ("a single pair's distance from 1", f"{floor.pair_deviation:.2%}", "median over the pairs"),
            ("samples", f"{floor.samples} pairs", f"{floor.steps_per_sample} steps each"),
            ("verdict", floor.verdict, "equivalent on a quiet machine"),
        ],
        right=frozenset({1}),
    )
    typer.echo(f"{floor.workload} on {floor.device_name}")

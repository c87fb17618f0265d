"""Several runs of one command, one after another: a folder and a line of the summary each; a fault costs one alone."""

from __future__ import annotations

import os
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pamprof.cli.configuration.invocation import Invocation, running
from pamprof.cli.ended import Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_INDEX = "index.md"


def run_all(
    runs: Sequence[tuple[Invocation, typer.Context]], invoke: Callable[..., Any], *, default_folder: str | None
) -> int:
    """Run each, write and print the summary; the worst exit status.

    Args:
        runs: In order.
        invoke: Runs the command of one context.
        default_folder: Begin of the name of the folder for all where ``--output-dir`` gives none; None for no folder.
    """
    now = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    lines: list[tuple[Invocation, str]] = []
    statuses: list[int] = []
    for number, (invocation, ctx) in enumerate(runs, start=1):
        assert invocation.sweep is not None
        _choose_folder(invocation, ctx, None if default_folder is None else f"{default_folder}-{now}")
        typer.echo(f"pamprof: sweep {invocation.sweep.name}, {number} of {len(runs)}", err=True)
        ended = _run(invocation, ctx, invoke)
        statuses.append(ended.exit_code)
        lines.append((invocation, ended.sentence or invocation.sentence or "done"))
        if ended.is_stopped:
            lines += [(left, "not begun") for left, _ in runs[number:]]
            break
    _summarise(lines, to_stderr=bool(runs[0][1].params.get("json")))
    return max(statuses)


def _choose_folder(invocation: Invocation, ctx: typer.Context, default: str | None) -> None:
    """The sweep's own folder: what its table gives, or one in that of all sweeps."""
    assert invocation.sweep is not None
    source = ctx.get_parameter_source("output_dir") if "output_dir" in ctx.params else None
    is_own = source is not None and source.name == "DEFAULT_MAP" and "output_dir" in invocation.sweep.own
    shared = ctx.params.get("output_dir") or default
    if not is_own and shared is not None and "output_dir" in ctx.params:
        invocation.folder = Path(shared)
        ctx.params["output_dir"] = invocation.folder / invocation.sweep.name
    if ctx.params.get("resume") and not os.path.exists(os.path.join(ctx.params["output_dir"] or "", "runs.jsonl")):
        ctx.params["resume"] = False  # an earlier session did not come to this sweep


def _run(invocation: Invocation, ctx: typer.Context, invoke: Callable[..., Any]) -> Ended:
    token = running.set(invocation)
    try:
        with ctx.scope(cleanup=False):
            invoke(ctx)
    except Ended as ended:
        return ended
    except typer.Exit as ended:
        return Ended(ended.exit_code)
    except Exception as error:  # noqa: BLE001 - a fault of ours in one sweep must not lose the others
        typer.echo(traceback.format_exc(), err=True)
        return Ended(1, f"{type(error).__name__}: {error}")
    finally:
        running.reset(token)
    return Ended(0)


def _summarise(lines: Sequence[tuple[Invocation, str]], *, to_stderr: bool) -> None:
    from pamprof.render.text import clean

    folder = next((invocation.folder for invocation, _ in lines if invocation.folder is not None), None)
    rows = []
    for invocation, sentence in lines:
        assert invocation.sweep is not None
        name, page = invocation.sweep.name, invocation.page
        typer.echo(clean(f"{name}: {sentence}{f' ({page})' if page else ''}"), err=to_stderr)
        if page is not None and folder is not None:
            name = f"[{name}](<{os.path.relpath(page, folder)}>)"
        rows.append(f"- {name}: {clean(sentence)}\n")
    if folder is not None and folder.is_dir():
        (folder / _INDEX).write_text("# Sweeps\n\n" + "".join(rows), encoding="utf-8")

"""Numbers on the command line are written in plain digits: Python would read ``--watts 2_990`` as 2990."""

from __future__ import annotations

import inspect
from typing import get_args, get_type_hints

import typer
from typer.core import TyperCommand

from pamprof.units import plain_number


class PlainNumbers(TyperCommand):
    """A command that refuses a number with anything but digits, a sign, a point and an exponent in it."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # its own click's
        """Look at the numbers as they were written, then parse as always."""
        hints = {} if self.callback is None else get_type_hints(inspect.unwrap(self.callback))
        written, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for param in self.params:
            kinds = {hints.get(param.name or ""), *get_args(hints.get(param.name or ""))}
            value = written.get(param.name or "")
            for text in value if isinstance(value, (list, tuple)) else (value,):
                if kinds & {int, float} and isinstance(text, str) and plain_number(text) is None:
                    message = f"{text!r} is not a number in plain digits; write it like 2048 or 0.5"
                    raise typer.BadParameter(message, ctx=ctx, param_hint=repr(param.opts[-1]))
        return super().parse_args(ctx, args)

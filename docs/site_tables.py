"""Sphinx extension: parts of pages that are made from the code's own tables, so that a page cannot disagree with it.

Every function here returns Markdown and needs no Sphinx; ``tests/documents`` calls them too. In a page, the directive
``{from-code}`` names one of ``TABLES``.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sphinx.application import Sphinx


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table."""
    head = list(headings)
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def verdicts() -> list[str]:
    """Words of the column "Verdict", with the band."""
    from pamprof.render.comparison.rows import VERDICTS
    from pamprof.statistics.verdicts import EQUIVALENCE_BAND, Verdict

    band = f"{EQUIVALENCE_BAND:.0%}".replace("%", " %")
    return [
        *table(("verdict", "meaning"), ((f"**{VERDICTS[each].text}**", VERDICTS[each].meaning) for each in Verdict)),
        "",
        f"The equivalence band is ±{band} around 1.",
    ]


def columns() -> list[str]:
    """Numeric columns of the table on the page, with their columns in ``measurements.csv``."""
    from pamprof.render.comparison.metrics import METRICS

    return table(
        ("column", "meaning", "in `measurements.csv`"),
        (
            (
                f"**{metric.heading}**" + (f", {metric.unit}" if metric.unit else ""),
                metric.meaning,
                ", ".join(f"`{name}`" for name in metric.csv) or "–",
            )
            for metric in METRICS
        ),
    )


def efforts() -> list[str]:
    """What each effort does on each kind of device."""
    from pamprof.measure.comparison.efforts import effort_rules
    from pamprof.records import Effort
    from pamprof.units import plus_minus, rough_seconds

    rows = []
    for kind, name in (("cpu", "CPU"), ("cuda", "GPU")):
        for effort in Effort:
            rules = effort_rules(effort, kind)
            settings, windows = rules.settings, rules.settings.windows
            sampling = f"up to {settings.time_limit_seconds:g} s, until {plus_minus(settings.target_half_width)}"
            if windows is not None:
                sampling = f"windows of {windows.window_seconds:g} s, each arm in turn and alone"
            rows.append(
                (
                    f"{name}, `{effort}`",
                    "none" if rules.time_budget_seconds is None else rough_seconds(rules.time_budget_seconds),
                    sampling,
                    f"{settings.monitor_seconds:g} s",
                    str(rules.processes),
                )
            )
    return table(
        ("device and effort", "time budget", "samples of a point", "monitored window", "processes a point"), rows
    )


def peers() -> list[str]:
    """Layers of other libraries by name, with the first sentence that their factories say."""
    from pamprof.workloads.layers.foreign.source import load, parse_source
    from pamprof.workloads.registry import PEER_LAYERS

    factories = {name: load(parse_source(source)) for name, source in PEER_LAYERS.items()}
    return table(
        ("layer", "what it is"),
        ((f"`{name}`", inspect.cleandoc(factory.__doc__ or "").split("\n")[0]) for name, factory in factories.items()),
    )


def peer_runs() -> list[str]:
    """Under which versions each peer was measured, and why not, by the records of the committed reports."""
    from pamprof.records.store import read_records
    from pamprof.workloads.registry import PEER_LAYERS

    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for file in sorted(Path(__file__).parents[1].glob("reports/*/runs.jsonl")):
        if not any(f'"layer":"{name}"' in file.read_text() for name in PEER_LAYERS):
            continue
        records = read_records(file)
        for run in records.runs:
            found, name = run.environment, run.workload.spec.layer
            if name in PEER_LAYERS:
                versions = f"{found.torch_version}, {found.triton_version or '–'}"
                cells = rows.setdefault((name, found.device_name, versions), {})
                cells[run.workload.phase] = "measured"
        (versions, device), *_ = {
            (f"{run.environment.torch_version}, {run.environment.triton_version or '–'}", run.environment.device_name)
            for run in records.runs
        }
        for skip in records.skips:
            if skip.workload.spec.layer in PEER_LAYERS:
                cells = rows.setdefault((skip.workload.spec.layer, device, versions), {})
                cells.setdefault(skip.workload.phase, skip.reason)
    if not rows:
        return ["No committed report has a peer."]
    phases = ("train", "prefill", "decode")
    return table(
        ("layer", "device", "torch, Triton", *phases),
        (
            (f"`{key[0]}`", *key[1:], *(cells.get(phase, "–") for phase in phases))
            for key, cells in sorted(rows.items())
        ),
    )


def commands() -> list[str]:
    """Every command with its arguments and options, as ``--help`` has them."""
    return [line for path, command in every_command() for line in _command(path, command)]


def every_command() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command of the program by the words that call it, such as ``("prices", "list")``."""
    from typer.main import get_command

    from pamprof.cli import app

    return _below(get_command(app), ())


def _below(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    else:
        for name, each in inner.items():
            yield from _below(each, (*path, name))


def _plain(text: str) -> str:
    """Text that Markdown must not take for markup."""
    return text.replace("*", "\\*").replace("<", "&lt;")


def _command(path: tuple[str, ...], command: Any) -> Iterator[str]:
    from typer import Context

    context = Context(command, info_name=f"pamprof {' '.join(path)}")
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    yield from (f"## pamprof {' '.join(path)}", "", *inspect.cleandoc(command.help or "").splitlines(), "")
    yield from ("```text", usage, "```", "")
    for names, meaning in records:
        yield from (f"`{names}`", f": {_plain(meaning) or '–'}", "")


def public_names() -> list[str]:
    """A directive of autodoc for every public name, what is called first; constants are left to the text around it."""
    import pamprof

    lines = []
    for name in sorted(pamprof.__all__, key=lambda name: (not name.islower(), name)):
        value = getattr(pamprof, name)
        if inspect.isclass(value):
            lines += [f"## {name}", "", "```{eval-rst}", f".. autoclass:: pamprof.{name}", "   :members:", "```", ""]
        elif callable(value):
            lines += [f"## {name}", "", "```{eval-rst}", f".. autofunction:: pamprof.{name}", "```", ""]
    return lines


TABLES: dict[str, Callable[[], list[str]]] = {
    "verdicts": verdicts,
    "columns": columns,
    "efforts": efforts,
    "peers": peers,
    "peer-runs": peer_runs,
    "commands": commands,
    "public-names": public_names,
}


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive, and let linked files open in the browser."""
    from docutils import nodes
    from docutils.statemachine import StringList
    from sphinx.util.docutils import SphinxDirective
    from sphinx.writers.html5 import HTML5Translator

    class FromCode(SphinxDirective):
        """The part of a page with that name in ``TABLES``."""

        required_arguments = 1
        option_spec: ClassVar[dict[str, Any]] = {}

        def run(self) -> list[Any]:
            lines = TABLES[self.arguments[0]]()
            holder = nodes.Element()
            source = StringList(lines, source=f"<{self.arguments[0]}>")
            self.state.nested_parse(source, self.content_offset, holder, match_titles=True)
            return list(holder.children)

    class OpensFiles(HTML5Translator):
        """Reports and records are opened where a browser can show them, not saved."""

        def visit_download_reference(self, node: Any) -> None:
            super().visit_download_reference(node)
            self.body[-1] = self.body[-1].replace(' download=""', "")

    def outside_the_navigation(_: Sphinx, name: str, source: list[str]) -> None:
        """Tables that a report's README links to are pages, too, and stand in no list of pages."""
        if name.startswith("reports/") and not name.endswith("/README"):
            source[0] = f"---\norphan: true\n---\n\n{source[0]}"

    def code_as_code(*event: Any) -> None:
        """An indented block after a paragraph of a docstring is an example, with or without ``::``."""
        lines = event[-1]
        for place in reversed(range(2, len(lines))):
            before, blank, line = lines[place - 2 : place + 1]
            if line.startswith("    ") and not blank and before[:1].strip() and not before.endswith("::"):
                lines[place:place] = ["::", ""]

    app.add_directive("from-code", FromCode)
    app.connect("autodoc-process-docstring", code_as_code, priority=400)  # before napoleon
    app.connect("source-read", outside_the_navigation)
    app.set_translator("html", OpensFiles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

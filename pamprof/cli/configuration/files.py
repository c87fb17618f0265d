"""The file of ``--config``: options of one run at its top, tables of sweeps below; a fault is told by file and line."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pamprof.cli.configuration.values import read_value, written_value
from pamprof.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pamprof.cli.configuration.values import OptionKey

SWEEPS = "sweep"  # [sweep.NAME]: one sweep each, over the options at the top

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Place = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileText:
    """A file of options that is TOML."""

    path: Path
    text: str

    def at(self, place: Place) -> str:
        """File, line and key of what is written at ``place``."""
        return f"{self.path}, line {self._line(place)}, {place[-1]}"

    def _line(self, place: Place) -> int:
        """Of a whole file, the first lines that are TOML by themselves and hold ``place`` end with its statement."""
        lines, first = self.text.split("\n"), 1
        for count in range(1, len(lines) + 1):
            try:
                found: object = tomllib.loads("\n".join(lines[:count]))
            except tomllib.TOMLDecodeError:
                continue  # inside a list or a text over several lines
            for key in place:
                found = found.get(key) if isinstance(found, dict) else None
            if found is not None:
                return first
            first = count + 1
        return first


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSweep:
    """Options of one run.

    Attributes:
        name: Of the sweep; empty where the file has no sweeps, and is one run.
        values: By name of the parameter, as the command line would give them.
        places: Where each is written.
    """

    name: str
    values: Mapping[str, object]
    places: Mapping[str, Place]

    @property
    def own(self) -> frozenset[str]:
        """Parameters that the sweep's table gives itself."""
        return frozenset(name for name, place in self.places.items() if place[0] == SWEEPS)


def read_file(path: Path) -> FileText:
    """The text of a file of options.

    Raises:
        UsageError: It cannot be read or is no TOML.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}; give a TOML file, as --save-config writes it") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"--config {path} is not text in UTF-8 at byte {error.start}; save it as that") from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        number = line[1] if line else text.rstrip().count("\n") + 1  # at the end of the document
        fault = re.sub(r" \(at [^()]*\)$", "", str(error))
        raise UsageError(
            f'{path}, line {number}: {fault[:1].lower()}{fault[1:]}; write it as TOML, such as preset = "tiny"'
        ) from None
    return FileText(path=path, text=text)


def read_sweeps(file: FileText, options: Sequence[OptionKey]) -> tuple[FileSweep, ...]:
    """The runs of a file: one for each ``[sweep.NAME]``, in order, or the one that it is without any.

    Raises:
        UsageError: A key that is no option, or a value of another type than the option's; file, line and key are named.
    """
    document = tomllib.loads(file.text)
    sweeps = document.pop(SWEEPS, {})
    if not isinstance(sweeps, dict) or not all(isinstance(table, dict) for table in sweeps.values()):
        raise UsageError(f"{file.at((SWEEPS,))} is no table of sweeps; write [sweep.NAME] over the options of each")
    common = _options(file, document, (), options, [SWEEPS])
    found = []
    folders: set[str] = set()
    for name, table in sweeps.items():
        if not _NAME.fullmatch(name):
            raise UsageError(f"{file.at((SWEEPS, name))}: a sweep's folder is called so; give letters, digits, _ and -")
        own = _options(file, table, (SWEEPS, name), options, [])
        folder = str(own["output_dir"][0]) if "output_dir" in own else name
        if folder.casefold() in folders:  # a file system may not tell them apart
            place = file.at((SWEEPS, name))
            raise UsageError(f"{place} would write into the folder of another sweep, {folder}; rename it")
        folders.add(folder.casefold())
        found.append(_sweep(name, {**common, **own}))
    return tuple(found) or (_sweep("", common),)


def _sweep(name: str, given: Mapping[str, tuple[object, Place]]) -> FileSweep:
    return FileSweep(
        name=name,
        values={option: value for option, (value, _) in given.items()},
        places={option: place for option, (_, place) in given.items()},
    )


def _options(
    file: FileText, table: Mapping[str, object], above: Place, options: Sequence[OptionKey], besides: list[str]
) -> dict[str, tuple[object, Place]]:
    known = {option.key: option for option in options}
    found: dict[str, tuple[object, Place]] = {}
    for key, value in table.items():
        place = (*above, key)
        if key not in known:
            near = get_close_matches(key.lower().replace("_", "-"), [*known, *besides], n=1, cutoff=0.5)
            remedy = f"did you mean {near[0]}?" if near else "name an option of the command, without its dashes"
            raise UsageError(f"{file.at(place)} is no option; {remedy}")
        try:
            found[known[key].name] = read_value(known[key], value), place
        except ValueError as error:
            raise UsageError(f"{file.at(place)} is {_short(value)}; give {error}") from None
    return found


def _short(value: object) -> str:
    words = {bool: str(value).lower(), dict: "a table", list: "a list"}
    text = words.get(type(value)) or (repr(value) if isinstance(value, str | int | float) else str(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def file_of(options: Sequence[OptionKey], runs: Mapping[str, Mapping[str, object]], *, command: str) -> str:
    """The file that asks for ``runs``: what is no default, in the order of the options.

    What all sweeps share stands at the top.

    Args:
        options: Of the command.
        runs: Parameters by name, of each sweep by its name; of the one run by the name "".
        command: Its name, for a comment.
    """
    given = {
        name: {option: run[option.name] for option in options if not option.is_default(run[option.name])}
        for name, run in runs.items()
    }
    first, *others = given.values()
    common = {
        option: value
        for option, value in first.items()
        if all(option in run and run[option] == value for run in others)
    }
    lines = [f"# pamprof {command} --config FILE", *_lines(common)]
    for name, run in given.items():
        if name:
            key = name if "." not in name else f'"{name}"'
            lines += ["", f"[{SWEEPS}.{key}]"]
            lines += _lines({option: value for option, value in run.items() if option not in common})
    return "\n".join(lines) + "\n"


def _lines(given: Mapping[OptionKey, object]) -> list[str]:
    return [f"{option.key} = {written_value(option, value)}" for option, value in given.items()]

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pamprof

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGE = Path(pamprof.__file__).parent
FEWEST_THAT_ASK_FOR_A_FOLDER = 3

# Names that still stand for two things, and folders that still hold a prefix; each must be taken out once it is mended.
SHARED_CLASS_NAMES: set[str] = set()
PREFIXES_OF_A_FOLDER: set[tuple[str, str]] = set()


def module_name(path: Path) -> str:
    parts = ("pamprof", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = tuple(sorted(PACKAGE.rglob("*.py")))
TREES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def imported_while_loading(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Names that a module imports when it is imported itself, those for type checkers left out."""
    for statement in body:
        match statement:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (f"{module}.{each.name}" for each in names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=rest):
                yield from imported_while_loading(rest)
            case ast.If(body=inner, orelse=rest) | ast.For(body=inner, orelse=rest):
                yield from imported_while_loading((*inner, *rest))
            case ast.Try(body=inner, handlers=handlers, orelse=rest, finalbody=last):
                caught = [each for handler in handlers for each in handler.body]
                yield from imported_while_loading((*inner, *caught, *rest, *last))
            case ast.With(body=inner) | ast.ClassDef(body=inner):
                yield from imported_while_loading(inner)


def modules_behind(name: str) -> set[str]:
    """The module that ``name`` is, or is defined in; without the packages around it, whose import ran before."""
    while name and name not in TREES:
        name = name.rpartition(".")[0]
    return {name} if name else set()


def test_no_module_imports_itself_over_others():
    graph = {
        module: {found for name in imported_while_loading(tree.body) for found in modules_behind(name)} - {module}
        for module, tree in TREES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


def test_a_class_name_means_one_thing():
    names = Counter(node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef))
    shared = {name for name, count in names.items() if count > 1 and not name.startswith("_")}
    assert shared == SHARED_CLASS_NAMES


def test_no_prefix_stands_in_for_a_folder():
    members: dict[tuple[str, str], int] = defaultdict(int)
    for path in FILES:
        prefix, underscore, _ = path.stem.partition("_")
        if prefix and underscore:
            members[path.parent.relative_to(PACKAGE).as_posix(), prefix] += 1
    crowded = {place for place, count in members.items() if count >= FEWEST_THAT_ASK_FOR_A_FOLDER}
    assert crowded == PREFIXES_OF_A_FOLDER

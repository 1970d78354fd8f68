"""The shape of the code: imports point down, rooms are small, files and functions are short."""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipeline", "serve_app", "jobs")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
}


def room(module: str) -> str:
    """Returns the folder of a module; what lies directly in a package is a room of its own."""
    folder = FILES[module].parent
    return module if folder.parent == ROOT else folder.relative_to(ROOT).as_posix()


def imported(module: str) -> set[str]:
    """Returns the modules of ours that a module imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return (names & FILES.keys()) - {module}


def test_no_circle_of_rooms() -> None:
    graph: dict[str, set[str]] = {}
    for module in FILES:
        graph.setdefault(room(module), set()).update({room(name) for name in imported(module)} - {room(module)})
    assert list(TopologicalSorter(graph).static_order())  # raises `CycleError`, which names the circle


@pytest.mark.parametrize(("package", "never"), [("pipeline", ("serve_app", "jobs")), ("serve_app", ("jobs",))])
def test_imports_point_down(package: str, never: tuple[str, ...]) -> None:
    mine = [module for module in FILES if module.split(".")[0] == package]
    assert [(module, name) for module in mine for name in imported(module) if name.split(".")[0] in never] == []


def test_no_room_is_crowded() -> None:
    files = Counter(path.parent.relative_to(ROOT).as_posix() for path in FILES.values())
    assert {folder: count for folder, count in files.items() if count > 14} == {}


def test_text_of_others_is_never_printed_as_markup() -> None:
    """`[/INST]` in a row, an answer or a path is an error in rich's markup: what is no figure is escaped or plain."""
    found = []
    for module, path in FILES.items():
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(("console.print", "console().print")):
                plain = any(word.arg == "markup" and ast.unparse(word.value) == "False" for word in call.keywords)
                parts = [part for text in call.args if isinstance(text, ast.JoinedStr) for part in text.values]
                values = [part for part in parts if isinstance(part, ast.FormattedValue) and part.format_spec is None]
                if not plain and not all(ast.unparse(part.value).startswith("escape(") for part in values):
                    found.append(f"{module}:{call.lineno}")
    assert found == []

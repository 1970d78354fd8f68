"""The pages hold to the code: the folder map, commands and flags, settings, links, tables, exit codes."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import runpy
import sys
import textwrap
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from pipeline import errors, schema
from pipeline.config import Project, project
from pipeline.synthesis.synthesize import SYNTHETIC
from pipeline.train.data.pack import PACKED

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipeline", "serve_app", "jobs")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md", "findings/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(path for folder in ("tests", "assets") for path in (ROOT / folder).glob("*/README.md")),
]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TREES = (*PACKAGES, "tests", "bench", "assets", "configs", "deploy", "docs")
REST = r"[\w./-]*\w"


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name)


# -- the folder map ----------------------------------------------------------------------------------------------------


def mapped() -> list[str]:
    """Returns the paths that the map of docs/architecture.md names, folders with a slash at their end."""
    block = FENCE.search(text(ROOT / "docs" / "architecture.md"))
    assert block is not None
    paths, folders = [], list[str]()
    for line in block.group().splitlines()[1:-1]:
        entry = line.split()[0]
        folders = folders[: (len(line) - len(line.lstrip())) // 2]
        paths.append("".join(folders) + entry)
        if entry.endswith("/"):
            folders.append(entry)
    return paths


def test_the_folder_map_is_the_tree() -> None:
    files = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    tree = {file.as_posix() for file in files if file.name != "__init__.py"}
    tree |= {f"{file.parent.as_posix()}/" for file in files}
    paths = mapped()
    assert sorted(paths) == sorted(tree), {"gone": set(paths) - tree, "not in the map": tree - set(paths)}


def test_every_line_of_the_map_says_what_is_there() -> None:
    block = FENCE.search(text(ROOT / "docs" / "architecture.md"))
    assert block is not None
    assert [line for line in block.group().splitlines()[1:-1] if len(line.split()) < 2] == []


@cache
def functions(path: str) -> frozenset[str]:
    """Returns the names that a module defines, dotted where they are inside others."""
    names = set()

    def walk(node: ast.AST, inside: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(inside + child.name)
                walk(child, f"{inside}{child.name}.")
            elif not isinstance(child, ast.Lambda | ast.expr):
                walk(child, inside)

    walk(ast.parse((ROOT / path).read_text(encoding="utf-8")), "")
    return frozenset(names)


@each_page
def test_every_function_that_is_named_with_its_file_exists(page: Path) -> None:
    named = re.findall(rf"`({REST}\.py):([\w.]+)`", text(page))
    assert [f"{path}:{function}" for path, function in named if function not in functions(path)] == []


# -- paths, links, commands --------------------------------------------------------------------------------------------


@each_page
def test_every_path_that_is_named_exists(page: Path) -> None:
    named = re.findall(rf"(?<![\w/.~-])((?:{'|'.join(TREES)})/{REST}\.(?:py|md|yaml|sh|mjs|conf|txt))\b", text(page))
    folders = (ROOT, page.parent)
    gone = {path for path in named if not any((folder / path).exists() for folder in folders)}
    assert gone - {"configs/mine.yaml"} == set()  # which the reader makes


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text(page))):
        place, _, anchor = target.partition("#")
        if "://" in target:
            continue
        leads_to = (page.parent / place) if place else page
        if not leads_to.exists() or (anchor and anchor not in anchors(leads_to)):
            dead.append(target)
    assert dead == []


@cache
def options(module: str) -> frozenset[str]:
    """Returns the flags that a job's parser takes, by its `--help`; of what has verbs or is a benchmark, by its source.

    Raises `FileNotFoundError` for a module that does not exist.
    """
    path = ROOT.joinpath(*module.split("."))
    source = text(path / "__main__.py" if path.is_dir() else path.with_suffix(".py"))
    flags = re.findall(r"--[a-z][a-z-]*", source)
    if module == "jobs.keys":
        flags += [f"--{what}-per-minute" for what in ("requests", "tokens")]
    elif module.startswith("jobs."):
        printed = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(printed),
            contextlib.suppress(SystemExit),
            warnings.catch_warnings(action="ignore"),  # runpy's: another test may have imported the module
        ):
            patch.setattr(sys, "argv", [module, "--help"])
            runpy.run_module(module, run_name="__main__")
        flags = re.findall(r"--[a-z][a-z-]*", printed.getvalue())
    return frozenset(flags)


def commands(page: Path) -> list[tuple[str, str]]:
    """Returns (module, the rest of the command) of every `python -m` with a module of ours on a page."""
    joined = text(page).replace("\\\n", " ")
    return re.findall(r"python -m ((?:jobs|bench|tests)(?:\.\w+)*)([^`\n|]*)", joined)


@each_page
def test_every_command_and_flag_exists(page: Path) -> None:
    unknown = []
    for module, rest in commands(page):
        if module == "jobs.VERB":
            continue
        arguments = re.split(r"\s#\s|\s[|>;&]\s", rest)[0]
        flags = re.findall(r"(?<!\S)\[?(--[a-z][\w-]*)", arguments)
        unknown += [f"{module} {flag}" for flag in flags if flag not in options(module)]
    assert unknown == []


def test_every_job_is_named_in_the_pages() -> None:
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py") if '__name__ == "__main__"' in text(path)}
    written = {module for page in PAGES for module, _ in commands(page)}
    assert {f"jobs.{job}" for job in jobs} - written == set()


@each_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    written = re.findall(r"(?:^    |`)make ([a-z-]+)", text(page), re.MULTILINE)
    assert set(written) - targets == set()


# -- settings ----------------------------------------------------------------------------------------------------------


@cache
def settings() -> set[str]:
    """Returns the dotted name of every setting and section."""
    whole = Project.model_json_schema()
    names: set[str] = set()

    def walk(section: dict[str, Any], path: str) -> None:
        for key, field in section.get("properties", {}).items():
            names.add(path + key)
            kinds = [field, field.get("items", {}), *field.get("anyOf", ()), *field.get("allOf", ())]
            for kind in kinds:
                if "$ref" in kind:
                    walk(whole["$defs"][kind["$ref"].rsplit("/", 1)[1]], f"{path}{key}.")

    walk(whole, "")
    return names


@each_page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = settings()
    sections = "|".join(Project.model_fields)
    written = re.findall(rf"`((?:{sections})(?:\.[a-z_]+)+)(?=[`:\s])", text(page))
    files = re.compile(r"\.(py|json|jsonl|yaml|md)$")
    assert [key for key in written if key not in known and not files.search(key)] == []


@each_page
def test_every_setting_of_a_table_exists(page: Path) -> None:
    tables = re.findall(r"^\| setting of `([\w.]+)` \|.*\n((?:^\|.*\n)+)", text(page), re.MULTILINE)
    rows = [(section, line.split("|")[1]) for section, body in tables for line in body.splitlines()[1:]]
    written = [f"{section}.{key}" for section, cell in rows for key in re.findall(r"`([\w.]+)`", cell)]
    assert set(written) - settings() == set()


def unknown(example: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yields the settings of a piece of configuration that do not exist; what a free mapping holds is not looked at."""
    for key, value in example.items():
        name = f"{path}{key}"
        if name not in settings():
            yield name
        elif isinstance(value, dict) and any(known.startswith(f"{name}.") for known in settings()):
            yield from unknown(value, f"{name}.")


@each_page
def test_every_example_of_a_configuration_has_settings_that_exist(page: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```|((?:^    [^\n]*\n)+)", text(page), re.MULTILINE | re.DOTALL)
    wrong = []
    for fenced, indented in blocks:
        with contextlib.suppress(yaml.YAMLError):  # a command, a list of files
            example = yaml.safe_load(fenced or textwrap.dedent(indented))
            if isinstance(example, dict) and set(example) & set(Project.model_fields):
                wrong += list(unknown(example))
    assert wrong == []


def test_the_upgrade_notes_name_every_setting_that_is_gone() -> None:
    notes = text(ROOT / "docs" / "upgrade.md")
    assert {key for key in project.REMOVED if f"`{key}`" not in notes} == set()


# -- tables and exit codes ---------------------------------------------------------------------------------------------


def tables() -> dict[str, dict[str, str]]:
    """Returns column -> type of every table of docs/tables.md, by its heading."""
    parts = re.split(r"^## (.+)$", text(ROOT / "docs" / "tables.md"), flags=re.MULTILINE)
    row = re.compile(r"^\| `(\w+)` \| ([^|]+) \|", re.MULTILINE)
    return {
        heading.split(":")[0]: {column: kind.strip() for column, kind in row.findall(body)}
        for heading, body in zip(parts[1::2], parts[2::2], strict=True)
    }


RECORD, MARKS = schema.RECORD.names, ("stage", "reason", "score", "threshold", "twin", "twin_run")
TABLES = {
    "Record": schema.RECORD,
    "Synthetic record": pa.schema([field for field in SYNTHETIC if field.name not in RECORD]),
    "Reject": schema.REJECT,
    "Working row": pa.schema([field for field in schema.WORKING if field.name not in (*RECORD, *MARKS)]),
    "Packed row": PACKED,
}


def test_the_page_of_tables_has_just_these() -> None:
    assert list(tables()) == list(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_the_columns_and_types_of_its_schema(table: str) -> None:
    written = tables()[table]
    # what Arrow calls `item`, a Parquet file calls `element`
    types = [(field.name, str(field.type).replace("item: ", "element: ")) for field in TABLES[table]]
    assert list(written.items()) == types


def test_a_record_and_the_marks_are_all_else_of_a_working_row() -> None:
    others = [column for column in schema.WORKING.names if column not in TABLES["Working row"].names]
    assert others == [*RECORD, *MARKS]


def test_every_exit_code_and_every_error_with_code_1_is_explained() -> None:
    page = text(ROOT / "docs" / "troubleshooting.md")
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SolotuneError)
    ]
    written = {int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE) for code in cell.split(",")}
    assert {kind.exit_code for kind in kinds} | {0, 130, 143} <= written
    ones = {kind.__name__ for kind in kinds if kind.exit_code == 1 and kind is not errors.SolotuneError}
    assert {kind for kind in ones if f"`{kind}`" not in page} == set()

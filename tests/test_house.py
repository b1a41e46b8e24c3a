"""The rules of the house that a program can check: imports, sizes, and where Flax may stand."""

import ast
from pathlib import Path

import pytest

from tests.running import ROOT

# From the ground up: a room imports rooms of lower floors only, and no other room of its own.
FLOORS = (
    ("errors", "files", "imagenet", "types"),
    ("tree_paths",),
    ("config", "runtime"),
    ("data", "masks", "quantize", "schedules"),
    ("generate", "losses", "optim", "reporting"),
    ("modalities",),
    ("training",),
    ("checkpoints", "models"),
    ("interop", "targets"),
    ("objectives", "teachers"),
    ("evals", "mask_tools", "methods", "planning"),
    ("exports", "inference", "train_loop"),
    ("embedding",),
    ("__main__", "convert", "evaluate", "gallery", "plan", "stats", "train"),
    ("embed", "export", "runs"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
PACKAGE = sorted((ROOT / "maskmim").rglob("*.py"))
FOLDERS = ("maskmim", "configs", "launch", "tests", "benchmarks", "docs", "tools")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_ROOT_MODULES = 400, 60, 16
LIBRARIES_FOR_TESTS = {"torch", "tensorflow", "transformers", "pickle", "sklearn", "skimage"}


def imported(tree: ast.AST) -> set[str]:
    """Dotted names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    """The rooms of maskmim that a file imports, but its own."""
    names = imported(ast.parse(path.read_text()))
    rooms = {name.split(".")[1] for name in names if name.startswith("maskmim.")}
    return rooms - {room_of(path)} - {"__version__"}


def room_of(path: Path) -> str:
    """The room that a file of the package lies in."""
    return path.relative_to(ROOT / "maskmim").with_suffix("").parts[0]


def test_every_room_has_a_floor():
    assert {room_of(path) for path in PACKAGE} - {"__init__"} == set(FLOOR)


def test_imports_go_down_only():
    wrong = [
        f"{path.relative_to(ROOT)} on floor {FLOOR[room_of(path)]} imports {room} on {FLOOR[room]}"
        for path in PACKAGE
        if room_of(path) in FLOOR
        for room in sorted(rooms_imported(path))
        if FLOOR[room] >= FLOOR[room_of(path)]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_package_root_has_few_modules():
    modules = sorted(path.name for path in (ROOT / "maskmim").glob("*.py"))
    assert len(modules) <= MOST_ROOT_MODULES, modules


def test_files_are_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {path: lines for path, lines in lengths.items() if lines > MOST_LINES}


def test_functions_are_short():
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1 - docstring_lines(node)
                if lines > MOST_LINES_OF_A_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines}")
    assert not long, "\n".join(long)


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function's docstring, which do not count."""
    if ast.get_docstring(node) is None:
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_package_imports_what_it_may(path):
    names = imported(ast.parse(path.read_text()))
    heads = {name.split(".")[0] for name in names}
    assert not heads & LIBRARIES_FOR_TESTS
    if any(name.startswith("flax") for name in names):
        assert room_of(path) == "models"

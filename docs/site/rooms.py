"""The directive `room`: a package of ours, module by module, each with what it offers."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def modules_of(room: str) -> list[str]:
    """Return the modules of a package that have a public function or class, by name.

    The face (`__init__.py`) is none: what it offers is described where it is defined. A module
    names itself alone.
    """
    place = importlib.util.find_spec(room)
    if place.submodule_search_locations is None:
        return [room]
    files = sorted(Path(place.submodule_search_locations[0]).glob("*.py"))
    return [f"{room}.{file.stem}" for file in files if file.stem[0] != "_" and _offers(file)]


def _offers(file: Path) -> bool:
    kinds = ast.FunctionDef | ast.ClassDef
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return any(isinstance(node, kinds) and node.name[0] != "_" for node in body)


class Room(SphinxDirective):
    """`.. room:: maskmim.masks`: a section for each module, with its public members."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return what the package says of itself, then the sections."""
        room = self.arguments[0]
        lines = [f".. automodule:: {room}", "   :no-index:", ""]
        for module in modules_of(room):
            title = module.removeprefix("maskmim.")
            lines += [title, "-" * len(title), "", f".. automodule:: {module}", "   :members:", ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app: Sphinx) -> None:
    """Connect with Sphinx."""
    app.add_directive("room", Room)

"""Docstrings of the package as reStructuredText.

They are written to be read in the source: plain words, names of arguments in aligned columns,
commands indented. This module makes of them what autodoc expects: fields, literal blocks, and no
character that means something else in reStructuredText.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

FIELD = re.compile(r"^([A-Za-z_*][\w*]*(?:, [\w*]+)*(?: \([^)]*\))?): +(\S.*)$")
LITERAL = re.compile(r"`+[^`]*`+")
MEANINGFUL = re.compile(r"[\\*|_](?!\w)|(?<!\w)[*|]|\\")


def as_rst(lines: list[str]) -> list[str]:
    """Return the lines of a docstring as reStructuredText."""
    text = []
    for block in _blocks(lines):
        text += [*_block(block), ""]
    return text


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Yield runs of lines without blank lines between them."""
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []


def _block(block: list[str]) -> list[str]:
    """Return a paragraph, a list of fields or a literal block."""
    if all(line.startswith(" ") for line in block):
        return ["::", "", *(f"    {line}" for line in block)]
    text: list[str] = []
    paragraph: list[str] = []
    field = False
    for line in block:
        found = FIELD.match(line)
        indented = line.startswith(" ")
        if found and (field or not paragraph or paragraph[-1].endswith((".", ":"))):
            text += _flush(paragraph)
            paragraph, field = [], True
            text += [f":{found[1].replace('*', chr(92) + '*')}: {escaped(found[2])}"]
        elif field and indented:
            text.append(f"    {escaped(line.strip())}")
        elif indented and paragraph:
            text += [*_flush(paragraph), f"| {escaped(line.strip())}"]
            paragraph = []
        elif indented and text and text[-1].startswith("| "):
            text.append(f"| {escaped(line.strip())}")
        else:
            if text and not paragraph:
                text.append("")
            field = False
            paragraph.append(line)
    return [*text, *_flush(paragraph)]


def _flush(paragraph: list[str]) -> list[str]:
    return [*(escaped(line.strip()) for line in paragraph), ""] if paragraph else []


def escaped(text: str) -> str:
    """Return text whose backquotes are code and whose other characters are themselves."""
    parts, end = [], 0
    for found in LITERAL.finditer(text):
        parts += [_plain(text[end : found.start()]), f"``{found[0].strip('`')}``"]
        end = found.end()
    return "".join([*parts, _plain(text[end:])])


def _plain(text: str) -> str:
    return MEANINGFUL.sub(lambda found: f"\\{found[0]}", text)


def on_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Change the lines of a docstring before they are parsed."""
    lines[:] = as_rst(lines)


def skips(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the entries of tuples, which the docstring of their class tells."""
    is_entry = type(obj).__name__ in ("_tuplegetter", "member_descriptor", "getset_descriptor")
    return True if is_entry else None


def setup(app: Sphinx) -> None:
    """Connect with Sphinx."""
    app.connect("autodoc-process-docstring", on_docstring)
    app.connect("autodoc-skip-member", skips)

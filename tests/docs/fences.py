"""The commands in the fences of README and docs."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tests.running import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "launch/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(python -m maskmim\.[^`]+)`")
# What a reader replaces: `NAME`, `...`, `<steps>`.
PLACEHOLDER = re.compile(r"(?<![\w.])[A-Z][A-Z_]+(?![\w.])|\.\.\.(?!\w)|[<>]")
PROGRAMS = ("python", "pip", "export", "git", "md5sum", "bash", "source", "python3.11")
ASSIGNMENT = re.compile(r"[A-Z_]+=")


class Command(NamedTuple):
    """A command of a page: `words` behind assignments such as PYTHONPATH=.

    in_prose: between backquotes, where flags that everybody gives may be left out.
    """

    page: str
    line: int
    environment: dict[str, str]
    words: tuple[str, ...]
    in_prose: bool = False

    @property
    def text(self) -> str:
        return shlex.join(self.words)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: Path) -> list[tuple[int, str, str]]:
    """(line, language, text) of every fence."""
    text = page.read_text(encoding="utf-8")
    return [(text[: m.start()].count("\n") + 2, m[1], m[2]) for m in FENCE.finditer(text)]


def commands(page: Path) -> list[Command]:
    """The commands of a page: of fences that begin with one, and those between backquotes that
    need nothing of the reader."""
    found = []
    for line, language, text in fences(page):
        if language in ("", "bash") and begins_with_a_program(text):
            found += _of_lines(name_of(page), line, text)
    prose = FENCE.sub(lambda m: "\n" * m[0].count("\n"), page.read_text(encoding="utf-8"))
    for match in INLINE.finditer(prose):
        if not PLACEHOLDER.search(match[1]):
            line = prose[: match.start()].count("\n") + 1
            inline = _of_lines(name_of(page), line, match[1].replace("\n", " "))
            found += [command._replace(in_prose=True) for command in inline]
    return found


def begins_with_a_program(text: str) -> bool:
    words = [word for word in text.split()[:4] if not ASSIGNMENT.match(word)]
    return bool(words) and words[0].startswith((*PROGRAMS, "launch/"))


def _of_lines(page: str, line: int, text: str) -> list[Command]:
    found = []
    joined = re.sub(r"\\\n\s*", lambda m: " " * (len(m[0]) - 1) + "\0", text)
    for each in joined.split("\n"):
        for part in re.split(r"&&|;", re.sub(r"(^|\s)#.*", "", each.replace("\0", ""))):
            words = shlex.split(part)
            environment = {}
            while words and ASSIGNMENT.match(words[0]):
                key, _, value = words.pop(0).partition("=")
                environment[key] = value
            if words:
                found.append(Command(page, line, environment, tuple(words)))
        line += 1 + each.count("\0")
    return found

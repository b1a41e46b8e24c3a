"""Write docs/recipes/: one page a method, from its config and what was verified of it.

  python -m docs.make_recipes             write the pages
  python -m docs.make_recipes --check     exit with 1 if one is stale, missing or left over

A page holds what the config's docstring says, the keys that it sets, the paragraph on the method in
docs/methods.yaml, its cost in docs/flops.json and its rows in the feature table, whose sources
docs/make_systems.py reads. Needs PyYAML.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from docs.make_systems import (
    ROOT,
    Proof,
    read_configs,
    read_methods,
    read_proofs,
    read_systems,
    status,
)
from maskmim.config import load
from maskmim.config.print_config import RESULT, print_config

# Sections that make the method; the others say where data lie, what is logged, evaluated and saved.
SECTIONS = {
    *("calls", "ema", "input", "mask", "method", "model", "objectives", "optim", "pairs"),
    *("predicts", "reads", "schedule", "teachers", "train"),
}
HEADINGS = {
    "After the colon:": "What stands after the colon",
    "Differences:": "Differences",
    "Published results to expect": "Published results",
}
MADE = "<!-- Written by python -m docs.make_recipes from configs/{name}.py; do not edit. -->"
KEYS = "Every key that changes what is learnt, as <code>python -m maskmim.train --config {name} "
KEYS += "--print-config</code> prints it"
INDEX = """\
# Recipes

One page a method: the published recipe as a config, what stands after the colon, the results that
were published, what was verified here and what it costs. `--config NAME:tiny` trains a few steps of
a very small model on data that come with the package; nothing has to be downloaded for it.

| method | input | GFLOP per example | of MAE's |
|---|---|--:|--:|
{rows}

Two configs are no method: `quickstart` is the [tour](../tour.md), `folder` trains on
[images of your own](../data.md).

```{{toctree}}
:maxdepth: 1
:hidden:

{names}
```
"""


class Tables(NamedTuple):
    """What the pages of all methods are made of; base is the cost of MAE in GFLOP."""

    systems: Sequence[Mapping[str, Any]]
    configs: Mapping[int, Sequence[str]]
    proofs: Sequence[Proof]
    base: float

    def cost(self, recipe: Mapping[str, Any]) -> str:
        """Return the last three cells of a recipe's row."""
        gflop = recipe["gflop"]
        return f"{recipe['input']} | {gflop:.1f} | {gflop / self.base:.2f}"


def pages(root: Path) -> dict[str, str]:
    """Return {name of a file in docs/recipes: its text}."""
    methods = read_methods(root)
    base = next(r["gflop"] for m in methods if m["name"] == "mae" for r in m["recipes"])
    tables = Tables(read_systems(root), read_configs(root), read_proofs(root), base)
    rows = "\n".join(
        f"| [{m['title']}]({m['name']}.md) | {tables.cost(m['recipes'][0])} |" for m in methods
    )
    names = "\n".join(sorted(method["name"] for method in methods))
    written = {f"{method['name']}.md": page(root, method, tables) for method in methods}
    return {"index.md": INDEX.format(rows=rows, names=names), **written}


def page(root: Path, method: Mapping[str, Any], tables: Tables) -> str:
    """Return the page of a method."""
    name = method["name"]
    text = (root / "configs" / f"{name}.py").read_text(encoding="utf-8")
    title, *blocks = re.split(r"\n\s*\n", ast.get_docstring(ast.parse(text)) or "")
    commands = [block for block in blocks if block.startswith("  ")]
    if "tiny=False" in text:
        commands += [f"  python -m maskmim.train --config {name}:tiny --workdir runs/{name}_tiny"]
    parts = [MADE.format(name=name), f"# {method['title']}", plain(title)]
    parts += ["```\n" + "\n".join(map(dedented, commands)) + "\n```"]
    parts += said([block for block in blocks if not block.startswith("  ")])
    parts += ["## What was verified", " ".join(method["told"].split())]
    if "picture" in method:
        shown = method["picture"]
        parts += [shown["caption"], f"![{method['title']}](../{shown['file']})"]
    parts += ["## Cost", costs(method, tables)]
    folded = f"<details><summary>{KEYS.format(name=name)}</summary>\n\n{keys(name)}\n\n</details>"
    parts += ["## Keys", folded, "## Files and proofs", places(method, tables)]
    return "\n\n".join(parts) + "\n"


def dedented(block: str) -> str:
    """Return a block without the two blanks by which a docstring sets commands apart."""
    return "\n".join(line.removeprefix("  ") for line in block.splitlines())


def said(blocks: Sequence[str]) -> list[str]:
    """Return the paragraphs of a docstring as Markdown, with headings."""
    parts, recipe = [], "## The recipe"
    for block in blocks:
        start = next((start for start in HEADINGS if block.startswith(start)), None)
        if start is None:
            parts += [recipe] if recipe else []
            recipe = ""
        else:
            parts.append(f"## {HEADINGS[start]}")
            block = block.removeprefix(start if start.endswith(":") else "").strip()
        parts.append(paragraph(block[0].upper() + block[1:] if start == "Differences:" else block))
    return parts


def paragraph(block: str) -> str:
    """Return a paragraph of a docstring as Markdown.

    Its indented lines are a list; a line that follows an unfinished one belongs to that.
    """
    lines: list[str] = []
    in_list = False
    for line in block.splitlines():
        text = plain(line.strip())
        if not line.startswith("  "):
            lines.append(text)
            continue
        if not in_list:
            lines += ["", f"- {text}"]
        else:
            begins = lines[-1].endswith((";", ".", ":"))
            lines.append(f"{'- ' if begins else '  '}{text}")
        in_list = True
    return "\n".join(lines)


def plain(text: str) -> str:
    """Return text for Markdown: flags as code, pages of docs/ as links, no accidental tags."""
    text = re.sub(r"--config\.[\w.]*\w(=[^\s;)]*[\w)])?", r"`\g<0>`", text.replace("<", "\\<"))
    return re.sub(r"\bdocs/(\w+)\.md", r"[docs/\1.md](../\1.md)", text)


def costs(method: Mapping[str, Any], tables: Tables) -> str:
    """Return the table of what one training example costs."""
    lines = ["| recipe | input | GFLOP per example | of MAE's |", "|---|---|--:|--:|"]
    for recipe in method["recipes"]:
        lines.append(f"| `{recipe['config']}` | {tables.cost(recipe)} |")
    return "\n".join(lines)


def keys(name: str) -> str:
    """Return the keys that make the method, with values and types, as a block of text."""
    rows = [
        (found[1], found[2])
        for line in print_config(load(name)).splitlines()
        if (found := re.match(rf"(\S+)(.*?) +{re.escape(RESULT)}", line))
        and found[1].partition(".")[0] in SECTIONS
    ]
    sections = itertools.groupby(rows, key=lambda row: row[0].partition(".")[0])
    blocks = ["\n".join(f"{key}{rest}".rstrip() for key, rest in part) for _, part in sections]
    return "\n".join(["```text", "\n\n".join(blocks), "```"])


def places(method: Mapping[str, Any], tables: Tables) -> str:
    """Return the files of a method and its rows in the feature table."""
    files = ", ".join(f"[{file}](../../{file})" for file in method["files"])
    lines = [f"Files: {files}; {method['lines']} lines.", ""]
    for system in tables.systems:
        row = system["row"]
        if f"configs/{method['name']}.py" in tables.configs.get(row, ()):
            count = sum(proof.row == row for proof in tables.proofs)
            many = f"{count} claim{'' if count == 1 else 's'} with tests"
            state = status(row, tables.configs, tables.proofs)
            page = f"../systems.md#row-{row}" if count else "../systems.md"
            lines.append(f"- [{system['name']}]({page}): {state}, {many}")
    return "\n".join(lines).rstrip()


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the script; return 1 if a page is stale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args(argv)
    folder = root / "docs" / "recipes"
    written = pages(root)
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    if options.check:
        stale = sorted(name for name in written | there if written.get(name) != there.get(name))
        if stale:
            names = ", ".join(stale)
            print(
                f"docs/recipes is stale ({names}): run python -m docs.make_recipes", file=sys.stderr
            )
        return int(bool(stale))
    folder.mkdir(exist_ok=True)
    for name in there.keys() - written.keys():
        (folder / name).unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

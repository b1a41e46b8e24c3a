"""What pages say for GitHub, said for Sphinx.

Pages are read on GitHub too, so they are written for it: a place of its own in a heading is an
anchor of HTML, commands stand in fences without a language, and files outside docs/ are linked by
their path. Files that are pages of the site as well are linked as such, and configs that are named
alone lead to their recipe.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

ANCHOR = re.compile(r'^(#+ )<a id="([\w-]+)"></a>', re.MULTILINE)
COMMAND = r"(?:[A-Z_]+=\S+ )*(?:python|pip|export|git|bash|md5sum|python3\.11|launch/|sbatch)\b"
COMMANDS = re.compile(rf"^```\n(?={COMMAND})", re.MULTILINE)
# Files outside docs/ that are pages of the site.
PAGES = {
    "README.md": "tour.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "launch/README.md": "launchers.md",
}
OUTSIDE = re.compile(rf"\]\(((?:\.\./)+)({'|'.join(map(re.escape, PAGES))})(#[\w-]+)?\)")
RECIPES = {path.stem for path in Path(__file__).parents[1].glob("recipes/*.md")}
RECIPE = re.compile(r"\[(\w+)\]\(\.\./configs/\1\.py\)")


def for_sphinx(text: str) -> str:
    """Return Markdown for GitHub as MyST: targets of headings, commands, links between pages."""
    text = RECIPE.sub(
        lambda found: f"[{found[1]}](recipes/{found[1]}.md)" if found[1] in RECIPES else found[0],
        text,
    )
    text = ANCHOR.sub(r"(\2)=\n\1", text)
    text = COMMANDS.sub("```bash\n", text)
    return OUTSIDE.sub(lambda found: f"]({found[1].removeprefix('../')}{PAGES[found[2]]})", text)


def on_source_read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change the text of a page before it is parsed."""
    source[0] = for_sphinx(source[0])


def setup(app: Sphinx) -> None:
    """Connect with Sphinx."""
    app.connect("source-read", on_source_read)

"""The site: its sources in the default tier; built without a warning and without a network, and
the pages looked at, in the full tier. Needs the extra docs: pip install 'maskmim[docs]'."""

import re
import subprocess
import sys
from urllib.parse import unquote

import pytest

from tests.running import ROOT, environment

DOCS = ROOT / "docs"
# Rooms that serve the commands: docs/api/index.rst says so.
NO_PAGE = {"runtime", "reporting", "planning", "exports", "embedding"}
# Attributes by which a page loads something, as against links to click.
LOADED = re.compile(r"<(?:script|img|iframe|source|video|audio)[^>]*\ssrc=[\"']([^\"']+)")
STYLES = re.compile(r"<link[^>]*rel=[\"'](?:stylesheet|preload|icon)[^>]*href=[\"']([^\"']+)")
LINK = re.compile(r"<a [^>]*href=\"([^\"#:]+)(?:#[^\"]*)?\"")


def test_every_room_has_a_page_of_the_api():
    rooms = {path.parent.name for path in (ROOT / "maskmim").glob("*/__init__.py")}
    pages = {path.stem for path in (DOCS / "api").glob("*.rst")} - {"index"}
    assert rooms - NO_PAGE <= pages, rooms - NO_PAGE - pages
    index = (DOCS / "api/index.rst").read_text()
    for page in pages:
        text = (DOCS / "api" / f"{page}.rst").read_text()
        assert f".. room:: maskmim.{page}\n" in text
        assert (ROOT / "maskmim" / page.replace(".", "/")).exists() or page == "errors"
        assert f"   {page}\n" in index


def test_every_page_is_in_the_menu():
    text = (DOCS / "index.md").read_text()
    listed = set(re.findall(r"^(?:[\w -]+ <)?([\w/]+)>?$", text, flags=re.MULTILINE))
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages <= listed, pages - listed


def test_questions_have_answers_with_a_command_or_a_link():
    sections = (DOCS / "faq.md").read_text().split("\n### ")[1:]
    assert len(sections) >= 65
    for section in sections:
        question, _, answer = section.partition("\n")
        answer = answer.split("\n## ")[0]
        prose = re.sub(r"```.*?```", "", answer, flags=re.DOTALL)
        assert len(re.findall(r"[.:](?=\s|$)", prose)) <= 5, f"too long: {question}"
        assert re.search(r"```|\]\(|`", answer) or "not built yet" in answer or len(prose) > 60


def test_the_changelog_ends_at_this_version_and_the_citation_is_of_it():
    from maskmim import __version__

    newest = re.search(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", changelog(), re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text()
    assert newest[1] == __version__
    assert f"version: {newest[1]}\n" in citation
    assert f'date-released: "{newest[2]}"\n' in citation


def changelog():
    return (ROOT / "CHANGELOG.md").read_text()


def test_the_changelog_has_its_form():
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", changelog(), re.MULTILINE)) <= kinds
    versions = re.findall(r"^## \[([\d.]+)\]", changelog(), re.MULTILINE)
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(numbers, reverse=True) and len(set(numbers)) == len(numbers)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx", reason="needs the extra docs")
    out = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-d", out / "trees"]
    closed = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [*words, DOCS, out / "html"], env=environment(**closed), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out / "html"


@pytest.mark.full
def test_the_site_is_built_without_warnings_and_whole(site):
    for page in ("index", "tour", "faq", "recipes/mae", "api/masks", "systems", "changelog"):
        assert (site / f"{page}.html").stat().st_size > 5_000
    assert len(list((site / "recipes").glob("*.html"))) == len(list(DOCS.glob("recipes/*.md")))
    masks = (site / "api/masks.html").read_text()
    assert 'id="maskmim.masks.colour.green"' in masks
    assert "Limits(" not in masks, "annotations are evaluated"


@pytest.mark.full
def test_pages_load_nothing_of_other_hosts_and_their_links_lead_somewhere(site):
    missing, foreign = set(), set()
    for page in site.rglob("*.html"):
        if "_static" in page.parts:  # templates of the theme
            continue
        text = page.read_text()
        for target in [*LOADED.findall(text), *STYLES.findall(text)]:
            if re.match(r"(https?:)?//", target):
                foreign.add((page.name, target))
        for target in {*LOADED.findall(text), *LINK.findall(text)}:
            path = unquote(target).partition("?")[0]
            if not path.startswith(("data:", "http", "//")) and not (page.parent / path).exists():
                missing.add((page.name, target))
    assert not foreign
    assert not missing
    styles = "".join(path.read_text() for path in (site / "_static").rglob("*.css"))
    assert not re.findall(r"(?:@import|url\()\s*[\"']?https?://[^\"')]+", styles)

"""Write docs/systems.md, the feature table, from what configs declare and tests prove.

  python docs/make_systems.py             write docs/systems.md
  python docs/make_systems.py --check     exit with 1 if docs/systems.md is stale
  python docs/make_systems.py --verify    run the proving tests first; a failing one proves nothing

A config declares the rows that it runs in a constant, `SYSTEMS = (3,)`. A test declares what it
proves with `@pytest.mark.proves(3, "claim")`, on a function, a class, or as `pytestmark`. Both are
read from the source, not executed. docs/methods.yaml describes what was verified of each method and
lists its files; benchmarks/flops.py writes docs/flops.json. Needs PyYAML.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = {
    "mim-image": "Images",
    "mim-video": "Video",
    "mim-3d": "Point clouds and volumes",
    "mim-audio": "Audio",
    "mim-text": "Text",
    "mim-graph": "Graphs",
    "mim-tabular": "Tables",
    "mim-multimodal": "Several modalities",
    "distillation": "Distillation into masked models",
    "supervised+mim": "Masking with labels",
    "masked-generation": "Generation by masked tokens",
    "masked-diffusion": "Masking and diffusion",
    "tokenizer-autoencoder": "Tokenizers and autoencoders",
    "weight-masking": "Masks on weights",
    "segmentation": "Segmentation",
    "downstream-application": "Applications",
    "other": "Others",
}
WORKS, CONFIG_ONLY, PIECE, NOTHING = "works", "config only", "proven piece", "-"
# Tests of the evaluators prove measuring, not the method that is measured.
MEASURING = "tests/evals/"
PREFACE = """\
# Systems

The feature table: the {rows} systems that maskmim is measured against, and which of them it runs.

`python docs/make_systems.py` generates this page; do not edit it. No status is set by hand:

- **config**: the files under `configs/` that declare the row in their constant `SYSTEMS`.
- **proofs**: the tests that declare `@pytest.mark.proves(row, "claim")`, listed below.
- **status**: `works` has a config and a proof of its mechanism or of its parity with another
  implementation (tests of the evaluators prove measuring, which does not count); `config only` and
  `proven piece` lack one of the two; `-` has neither.
- **fit**: `core` is a masked-modelling pretraining method or its ingredient, `extension` the same
  idea with another modality, tokenizer or generation, `adapter` a downstream use, `outside` no
  masked modelling.

`--verify` runs the proving tests and counts only those that pass.

**{works} of {rows} work.** {others}
"""


METHODS = """\
## Methods

Every method is a config and the bricks that came with it. Lines count the listed files, with
comments and docstrings; backbones, data sources and what methods share do not count. GFLOP are
XLA's count of one training example at the published size, forward and backward, with teachers and
tokenizers (`python -m benchmarks.flops`); the last column is the ratio to MAE's ViT-B/16.
"""

COMPARED = """\
## Methods on equal terms

Small encoders after ten CPU minutes on the embedded photographs; [protocol](methods_compare.md).
"""


class SourceError(Exception):
    """A declaration in a config or a test that cannot be read."""


class Proof(NamedTuple):
    """A claim about a row, and the test that proves it, as 'tests/a.py::TestClass::test_name'."""

    row: int
    claim: str
    test: str


def read_systems(root: Path) -> list[dict[str, Any]]:
    """Return the rows of docs/systems.yaml, in order."""
    return yaml.safe_load((root / "docs" / "systems.yaml").read_text(encoding="utf-8"))


def read_configs(root: Path) -> dict[int, list[str]]:
    """Return {row: config files that declare it}, from their module-level SYSTEMS."""
    files: dict[int, list[str]] = {}
    for file in sorted((root / "configs").glob("*.py")):
        for node in _parsed(file).body:
            if _assigns(node, "SYSTEMS"):
                for row in _literal(node.value, file):
                    files.setdefault(row, []).append(file.relative_to(root).as_posix())
    return files


def read_proofs(root: Path) -> list[Proof]:
    """Return every claim of the tests, sorted by row, then by test.

    Raises SourceError where `proves` is neither a decorator nor in pytestmark, and where its
    arguments are not literals: they could not be counted.
    """
    proofs = []
    for file in sorted((root / "tests").rglob("*.py")):
        tree = _parsed(file)
        counted = set()
        for test, call in _marks(tree, file.relative_to(root).as_posix()):
            counted.add(call)
            row, claim = _arguments(call, file)
            proofs.append(Proof(row, claim, test))
        missed = [n for n in ast.walk(tree) if _is_proves(n) and n not in counted]
        if missed:
            place = f"{file}:{missed[0].lineno}"
            raise SourceError(f"{place}: write proves(...) as a decorator or in pytestmark")
    return sorted(proofs)


def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def _assigns(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == [name]


def _literal(node: ast.expr, file: Path) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise SourceError(f"{file}:{node.lineno}: {ast.unparse(node)} must be a literal") from None


def _is_proves(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.proves")


def _marks(scope: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield (test, proves call) for a module or class and for everything in it."""
    for node in scope.body:
        if _assigns(node, "pytestmark"):
            marks = (
                node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            )
            yield from ((name, mark) for mark in marks if _is_proves(mark))
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inner = f"{name}::{node.name}"
            yield from ((inner, mark) for mark in node.decorator_list if _is_proves(mark))
        if isinstance(node, ast.ClassDef):
            yield from _marks(node, inner)


def _arguments(call: ast.Call, file: Path) -> tuple[int, str]:
    values = [_literal(value, file) for value in call.args]
    values += [_literal(word.value, file) for word in call.keywords]
    if [type(value) for value in values] != [int, str]:
        raise SourceError(f"{file}:{call.lineno}: proves(row, 'claim') takes a number and a text")
    return values[0], values[1]


def read_methods(root: Path) -> list[dict[str, Any]]:
    """Return the methods of docs/methods.yaml with the counts of docs/flops.json.

    Each has: name, recipes ({config, gflop, input}), files, lines (of all its files), told, and
    some have a picture ({file, caption}).
    Raises SourceError where a file is missing or a recipe was never counted.
    """
    file = root / "docs" / "methods.yaml"
    if not file.exists():
        return []
    counts = json.loads((root / "docs" / "flops.json").read_text(encoding="utf-8"))
    methods = yaml.safe_load(file.read_text(encoding="utf-8"))
    for method in methods:
        configs = {f"configs/{method['name']}.py"}
        missing = [name for name in [*configs, *method["bricks"]] if not (root / name).exists()]
        if missing:
            raise SourceError(f"docs/methods.yaml, {method['name']}: there is no {missing[0]}")
        uncounted = [r["config"] for r in method["recipes"] if r["config"] not in counts]
        if uncounted:
            raise SourceError(f"{uncounted[0]} is not in docs/flops.json: run benchmarks.flops")
        method["files"] = [*configs, *method["bricks"]]
        method["lines"] = sum(len(_lines(root / name)) for name in method["files"])
        method["recipes"] = [counts[r["config"]] for r in method["recipes"]]
    return methods


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _methods(methods: Sequence[Mapping]) -> str:
    """Return the table of methods and a paragraph on each."""
    base = next(r["gflop"] for m in methods if m["name"] == "mae" for r in m["recipes"])
    head = [
        "| method | files | lines | recipe | input | GFLOP | of MAE's |",
        "|---|--:|--:|---|---|--:|--:|",
    ]
    lines = [METHODS, *head]
    for method in methods:
        for place, recipe in enumerate(method["recipes"]):
            first = (
                f"[{method['name']}](#{method['name']})",
                len(method["files"]),
                method["lines"],
            )
            cost = f"{recipe['gflop']:.1f}", f"{recipe['gflop'] / base:.2f}"
            shown = first if place == 0 else ("", "", "")
            cells = (*shown, f"`{recipe['config']}`", recipe["input"], *cost)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    for method in methods:
        files = ", ".join(f"[{name}](../{name})" for name in method["files"])
        lines += ["", f'### <a id="{method["name"]}"></a>{method["title"]}', ""]
        lines += [" ".join(method["told"].split()), "", f"Files: {files}."]
        if "picture" in method:
            shown = method["picture"]
            lines += ["", shown["caption"], "", f"![{method['title']}]({shown['file']})"]
    return "\n".join([*lines, ""])


def read_comparison(root: Path) -> str:
    """Return the table of docs/methods_compare.md, '' where there is none."""
    file = root / "docs" / "methods_compare.md"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return text.partition("<!-- table -->\n")[2].partition("<!-- end -->")[0]


def check_rows(systems: Sequence[Mapping], rows: Iterable[int]) -> None:
    """Raise SourceError where the table lacks a declared row."""
    unknown = sorted(set(rows) - {system["row"] for system in systems})
    if unknown:
        raise SourceError(f"docs/systems.yaml has no row {unknown[0]}")


def status(row: int, configs: Mapping[int, Sequence[str]], proofs: Sequence[Proof]) -> str:
    """Return the status of a row."""
    has_proof = any(p.row == row and not p.test.startswith(MEASURING) for p in proofs)
    if row in configs:
        return WORKS if has_proof else CONFIG_ONLY
    return PIECE if any(p.row == row for p in proofs) else NOTHING


def page(
    systems: Sequence[Mapping],
    configs: Mapping[int, Sequence[str]],
    proofs: Sequence[Proof],
    methods: Sequence[Mapping] = (),
    comparison: str = "",
) -> str:
    """Return the whole text of docs/systems.md; comparison: the table of `read_comparison`."""
    check_rows(systems, [*configs, *(proof.row for proof in proofs)])
    states = {system["row"]: status(system["row"], configs, proofs) for system in systems}
    count = {state: list(states.values()).count(state) for state in (WORKS, CONFIG_ONLY, PIECE)}
    others = f"Config only: {count[CONFIG_ONLY]}. Proven pieces: {count[PIECE]}."
    parts = [PREFACE.format(rows=len(systems), works=count[WORKS], others=others)]
    for family in [*FAMILIES, *sorted({s["family"] for s in systems} - FAMILIES.keys())]:
        members = [system for system in systems if system["family"] == family]
        if members:
            parts.append(_table(family, members, states, configs, proofs))
    parts += [_methods(methods)] if methods else []
    parts += [f"{COMPARED}\n{comparison}"] if comparison else []
    parts.append(_claims(systems, proofs))
    return "\n".join(parts)


def _table(
    family: str,
    members: Sequence[Mapping],
    states: Mapping[int, str],
    configs: Mapping[int, Sequence[str]],
    proofs: Sequence[Proof],
) -> str:
    title = FAMILIES.get(family, family)
    lines = [f"## {title}", "", "| row | system | modality | fit | status | config | proofs |"]
    lines.append("|--:|---|---|---|---|---|--:|")
    for system in members:
        row = system["row"]
        files = configs.get(row, ())
        links = ", ".join(f"[{Path(file).stem}](../{file})" for file in files) or "-"
        number = sum(proof.row == row for proof in proofs)
        shown = f"[{number}](#row-{row})" if number else "-"
        state = f"**{states[row]}**" if states[row] == WORKS else states[row]
        cells = (row, system["name"], system["modality"], system["fit"], state, links, shown)
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _claims(systems: Sequence[Mapping], proofs: Sequence[Proof]) -> str:
    """Return the claims of each row that has some, with the tests that prove them."""
    lines = ["## What the tests prove", ""]
    for system in systems:
        claims = [proof for proof in proofs if proof.row == system["row"]]
        if claims:
            lines += [f'### <a id="row-{system["row"]}"></a>{system["row"]} {system["name"]}', ""]
            lines += [f"{system['title']}.", ""]
            lines += [line for proof in claims for line in _claim(proof)]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _claim(proof: Proof) -> list[str]:
    file, _, name = proof.test.partition("::")
    return [f"- {proof.claim}", f"  ([{name or file}](../{file}))"]


def passing(root: Path, proofs: Sequence[Proof]) -> list[Proof]:
    """Run the proving tests with pytest; return the proofs all of whose cases passed."""
    tests = sorted({proof.test for proof in proofs})
    if not tests:
        return []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", f"--junitxml={report}"]
        subprocess.run([sys.executable, "-m", "pytest", *options, *tests], cwd=root, check=False)
        if not report.exists():
            raise SourceError("pytest wrote no report: run the proving tests by hand to see why")
        cases = list(ElementTree.parse(report).iter("testcase"))
    return [proof for proof in proofs if _passed(proof.test, cases)]


def _passed(test: str, cases: Sequence[ElementTree.Element]) -> bool:
    """Return whether some case of a test ran and none failed; skipped ones prove nothing."""
    file, _, inner = test.partition("::")
    prefix = ".".join(
        filter(None, [file.removesuffix(".py").replace("/", "."), *inner.split("::")])
    )
    ran = 0
    for case in cases:
        name = f"{case.attrib['classname']}.{case.attrib['name'].partition('[')[0]}".lstrip(".")
        if name != prefix and not name.startswith(f"{prefix}."):
            continue
        outcome = {child.tag for child in case}
        if outcome & {"failure", "error"}:
            return False
        ran += "skipped" not in outcome
    return ran > 0


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the script; return 1 if the page is stale or a proof fails, 2 for unreadable sources."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--verify", action="store_true", help="run the proving tests")
    options = parser.parse_args(argv)
    try:
        proofs = read_proofs(root)
        true = passing(root, proofs) if options.verify else proofs
        read = read_systems(root), read_configs(root), true, read_methods(root)
        text = page(*read, read_comparison(root))
    except SourceError as error:
        print(f"make_systems: error: {error}", file=sys.stderr)
        return 2
    for proof in proofs:
        if proof not in true:
            print(f"not proven: row {proof.row}, {proof.claim} ({proof.test})", file=sys.stderr)
    target = root / "docs" / "systems.md"
    stale = not target.exists() or target.read_text(encoding="utf-8") != text
    if options.check and stale:
        print("docs/systems.md is stale: run python docs/make_systems.py", file=sys.stderr)
        return 1
    if not options.check:
        target.write_text(text, encoding="utf-8")
    return int(len(true) < len(proofs))


if __name__ == "__main__":
    sys.exit(main())

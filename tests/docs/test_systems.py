"""The feature table: its rows, its freshness, and statuses that follow from files and tests."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("make_systems", ROOT / "docs" / "make_systems.py")
make_systems = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_systems)

SYSTEMS = """
- {row: 1, name: One, title: The first, modality: image, family: mim-image, fit: core}
- {row: 2, name: Two, title: The second, modality: text, family: mim-text, fit: extension}
- {row: 3, name: Three, title: The third, modality: image, family: mim-image, fit: core}
- {row: 4, name: Four, title: The fourth, modality: image, family: other, fit: outside}
- {row: 5, name: Five, title: The fifth, modality: image, family: other, fit: core}
"""
TESTS = """
import pytest

@pytest.mark.proves(1, "a plain function")
@pytest.mark.proves(3, "the same test for another row")
def test_plain():
    assert True

@pytest.mark.proves(2, "cases that fail in part")
@pytest.mark.parametrize("x", [0, 1])
def test_cases(x):
    assert x == 0

@pytest.mark.proves(5, "never runs")
@pytest.mark.skip
def test_skipped():
    assert True

@pytest.mark.proves(row=1, claim="a class")
class TestClass:
    @pytest.mark.proves(4, "a method")
    def test_inner(self):
        assert True
"""


@pytest.fixture
def project(tmp_path):
    """A small project: configs for rows 1, 2 and 5, proofs for all rows."""
    for name, text in {
        "docs/systems.yaml": SYSTEMS,
        "configs/a.py": "SYSTEMS = (1, 2)\nraise RuntimeError('configs are read, never run')\n",
        "configs/b.py": "SYSTEMS = (1, 5)\n",
        "configs/plain.py": "OTHER = (3,)\n",
        "tests/test_a.py": TESTS,
        "tests/sub/test_b.py": 'import pytest\npytestmark = pytest.mark.proves(4, "a module")\n'
        "def test_it():\n    assert True\n",
        "pytest.ini": "[pytest]\nmarkers =\n    proves(row, claim): a proof\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def states(root, proofs):
    configs = make_systems.read_configs(root)
    return {row: make_systems.status(row, configs, proofs) for row in range(1, 6)}


def test_there_are_147_rows_in_order_with_all_their_facts():
    systems = make_systems.read_systems(ROOT)
    assert [system["row"] for system in systems] == list(range(1, 148))
    facts = {"row", "name", "title", "modality", "family", "fit"}
    assert all(system.keys() == facts and all(system.values()) for system in systems)
    fits = Counter(system["fit"] for system in systems)
    assert fits == {"core": 69, "extension": 36, "outside": 31, "adapter": 11}
    assert {system["family"] for system in systems} == set(make_systems.FAMILIES)


def test_the_page_is_fresh():
    text = make_systems.page(
        make_systems.read_systems(ROOT),
        make_systems.read_configs(ROOT),
        make_systems.read_proofs(ROOT),
        make_systems.read_methods(ROOT),
        make_systems.read_comparison(ROOT),
    )
    assert (ROOT / "docs" / "systems.md").read_text() == text, "run python docs/make_systems.py"
    assert sum(line.startswith("| ") and line[2].isdigit() for line in text.splitlines()) == 147


def test_proofs_are_found_on_functions_classes_methods_and_modules(project):
    assert make_systems.read_proofs(project) == [
        (1, "a class", "tests/test_a.py::TestClass"),
        (1, "a plain function", "tests/test_a.py::test_plain"),
        (2, "cases that fail in part", "tests/test_a.py::test_cases"),
        (3, "the same test for another row", "tests/test_a.py::test_plain"),
        (4, "a method", "tests/test_a.py::TestClass::test_inner"),
        (4, "a module", "tests/sub/test_b.py"),
        (5, "never runs", "tests/test_a.py::test_skipped"),
    ]


def test_configs_are_found_and_not_run(project):
    found = make_systems.read_configs(project)
    assert found == {1: ["configs/a.py", "configs/b.py"], 2: ["configs/a.py"], 5: ["configs/b.py"]}


def test_a_status_needs_both_a_config_and_a_proof(project):
    every = make_systems.read_proofs(project)
    piece, works, only = "proven piece", "works", "config only"
    assert states(project, every) == {1: works, 2: works, 3: piece, 4: piece, 5: works}
    assert states(project, []) == {1: only, 2: only, 3: "-", 4: "-", 5: only}


def test_a_test_of_the_evaluators_does_not_make_a_system_work(project):
    measuring = [make_systems.Proof(1, "probe", "tests/evals/test_probe.py::test_it")]
    assert states(project, measuring)[1] == "config only"


def test_verify_runs_the_tests_and_counts_only_those_that_pass(project, capsys):
    assert make_systems.main(["--verify"], project) == 1
    text = (project / "docs" / "systems.md").read_text()
    assert "**1 of 5 work.** Config only: 2. Proven pieces: 2." in text
    assert "| 2 | Two | text | extension | config only | [a](../configs/a.py) | - |" in text
    assert "not proven: row 2, cases that fail in part" in capsys.readouterr().err
    assert "never runs" not in text


def test_check_says_when_the_page_is_stale(project, capsys):
    assert make_systems.main(["--check"], project) == 1
    assert "stale" in capsys.readouterr().err
    assert make_systems.main([], project) == 0
    assert make_systems.main(["--check"], project) == 0
    (project / "configs" / "b.py").write_text("SYSTEMS = (1, 3)\n")
    assert make_systems.main(["--check"], project) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ROW = 1\n@pytest.mark.proves(ROW, 'x')\ndef test_x(): pass", "must be a literal"),
        ("@pytest.mark.proves('x', 1)\ndef test_x(): pass", "takes a number and a text"),
        ("MINE = pytest.mark.proves(1, 'x')", "as a decorator or in pytestmark"),
        ("@pytest.mark.proves(148, 'x')\ndef test_x(): pass", "no row 148"),
    ],
)
def test_declarations_that_cannot_be_counted_are_errors(project, capsys, line, message):
    (project / "tests" / "test_c.py").write_text(f"import pytest\n{line}\n")
    assert make_systems.main([], project) == 2
    assert message in capsys.readouterr().err


METHODS = """
- {name: a, title: A method, recipes: [{config: configs/a.py}], bricks: [maskmim/brick.py],
   told: what was verified}
- {name: mae, title: MAE, recipes: [{config: configs/mae.py}], bricks: [], told: the base}
"""


def test_methods_tell_their_lines_and_their_cost(project):
    (project / "docs/methods.yaml").write_text(METHODS)
    (project / "configs/mae.py").write_text("SYSTEMS = ()\n")
    (project / "docs/flops.json").write_text(
        '{"configs/a.py": {"config": "configs/a.py", "input": "8x8", "gflop": 3.0},'
        ' "configs/mae.py": {"config": "configs/mae.py", "input": "8x8", "gflop": 2.0}}'
    )
    with pytest.raises(make_systems.SourceError, match=r"a: there is no maskmim/brick\.py"):
        make_systems.read_methods(project)
    (project / "maskmim").mkdir()
    (project / "maskmim/brick.py").write_text("one\ntwo\nthree\n")
    methods = make_systems.read_methods(project)
    assert [method["lines"] for method in methods] == [5, 1]
    text = make_systems.page(make_systems.read_systems(project), {}, [], methods)
    assert "| [a](#a) | 2 | 5 | `configs/a.py` | 8x8 | 3.0 | 1.50 |" in text
    (project / "docs/flops.json").write_text("{}")
    with pytest.raises(make_systems.SourceError, match=r"not in docs/flops\.json"):
        make_systems.read_methods(project)


def test_no_method_of_ours_is_longer_than_400_lines():
    for method in make_systems.read_methods(ROOT):
        assert method["lines"] <= 400, method["name"]


def test_every_config_of_a_method_is_told_of():
    told = {method["name"] for method in make_systems.read_methods(ROOT)}
    configs = {
        Path(file).stem for files in make_systems.read_configs(ROOT).values() for file in files
    }
    assert configs <= told | {"quickstart"}

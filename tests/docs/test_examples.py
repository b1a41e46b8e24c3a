"""The worked examples of docs/add_a_method.md: they train, and the page quotes them as they are."""

import ast
import importlib
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config import base, load
from maskmim.evals.drawable import picture_remarks
from maskmim.planning import cost
from maskmim.training.build import assemble
from tests.compiling import quick_jit
from tests.running import ROOT, as_tests, run

EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")


SERIES = [EXAMPLES / "series_bricks.py", EXAMPLES / "series.py"]


@pytest.fixture
def bricks(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("point_groups")
    sys.modules.pop("point_groups", None)


@pytest.fixture
def series(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("series_bricks")
    sys.modules.pop("series_bricks", None)


def quoted(text):
    """Return the blocks of Python code of a page."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_page_quotes_the_files_as_they_are():
    whole = "\n".join(path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.glob("*.py")))
    blocks = [block for block in quoted(PAGE) if "# docs/examples/" not in block]
    assert len(blocks) >= 5
    for block in blocks:
        assert block.strip() in whole, f"not in docs/examples:\n{block}"
    assert all(f"docs/examples/{path.name}" in PAGE for path in EXAMPLES.glob("*.py"))


def code_lines(path):
    """Return the lines of a file that are neither blank nor of a docstring."""
    text = path.read_text(encoding="utf-8")
    words = set()
    for node in ast.walk(ast.parse(text)):
        described = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if described and ast.get_docstring(node):
            words |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    numbered = enumerate(text.splitlines(), start=1)
    return [line for number, line in numbered if line.strip() and number not in words]


def test_the_first_example_is_60_lines_and_the_page_has_all_of_them():
    lines = [line for path in SERIES for line in code_lines(path)]
    assert len(lines) <= 60 and f"{len(lines)} lines in two files" in PAGE
    shown = [line for block in quoted(PAGE) for line in block.splitlines()]
    assert not set(lines) - set(shown)


def test_series_are_what_their_labels_say(series):
    records = series.Waves(count=90, seed=3)
    names = records.labels["form"]
    amounts = {name: [] for name in names}
    for example in (records[index] for index in range(90)):
        assert example.encoded.shape == (512, 1) and example.encoded.dtype == np.float32
        amounts[names[example.labels["form"]]].append(np.mean(example.encoded**2))
    # The powers of the forms, and of noise whose deviation is 0.2.
    for form, power in {"sine": 1 / 2, "square": 1, "sawtooth": 1 / 3}.items():
        assert np.mean(amounts[form]) == pytest.approx(power + 0.04, abs=0.03)
    np.testing.assert_array_equal(records[7].encoded, series.Waves(count=8, seed=3)[7].encoded)
    assert records.fingerprint != series.Waves(count=90, seed=4).fingerprint


def test_a_series_is_drawn_as_a_line_without_what_is_hidden(series):
    values = np.array([[0, 255, 255, 4, 200, 8]], np.uint8)[..., None]
    ends = [(63, 63), (0, 63), (0, 0), (0, 62), (13, 62), (13, 61)]
    drawn = series.plot().draw(values)
    assert drawn.shape == (1, 64, 6, 3)
    for column, (top, bottom) in enumerate(ends):
        black = np.flatnonzero((drawn[0, :, column] == 0).all(-1))
        np.testing.assert_array_equal(black, np.arange(top, bottom + 1))
    hidden = np.array([[False, False, True, True, False, False]])
    masked = series.plot().draw(values, hidden)
    assert (masked[:, :, 2:4] == 118).all()
    np.testing.assert_array_equal(masked[:, :, [0, 1, 5]], drawn[:, :, [0, 1, 5]])
    other = np.where(hidden[..., None], 90, values).astype(np.uint8)
    np.testing.assert_array_equal(series.plot().draw(other, hidden), masked)


def test_the_series_are_planned_with_pictures_and_compared_with_raw_values(series):
    config = load(str(EXAMPLES / "series.py"))
    parts = assemble(config, 2048)
    assert picture_remarks(parts) == []
    assert parts.method.net.grids == {"series": (16,)}
    shapes = cost.variables_shapes(parts)
    assert cost.tokens_per_example(parts.method, shapes, cost.batch_shapes(config, 2)) == (16, 8, 8)
    ((name, encode),) = parts.modalities["series"].baselines(parts.spec).items()
    assert name == "raw values"
    values = np.arange(12, dtype=np.float32).reshape(2, 6, 1)
    np.testing.assert_array_equal(encode(values), values[..., 0])


def neighbours(cloud, groups, size):
    """Farthest points and their nearest neighbours, by loops."""
    chosen = [int(np.argmax(cloud[:, 0]))]
    while len(chosen) < groups:
        far = [min(np.sum((point - cloud[c]) ** 2) for c in chosen) for point in cloud]
        chosen.append(int(np.argmax(far)))
    near = [np.argsort(np.sum((cloud - cloud[c]) ** 2, -1), kind="stable")[:size] for c in chosen]
    return cloud[chosen], np.stack([cloud[n] - cloud[c] for n, c in zip(near, chosen, strict=True)])


def test_groups_are_farthest_points_with_their_nearest_neighbours(bricks):
    clouds = np.random.default_rng(0).normal(size=(2, 40, 3)).astype(np.float32)
    found = bricks.grouped(jnp.asarray(clouds), 5, 4)
    for cloud, centres, points in zip(clouds, *map(np.asarray, found), strict=True):
        expected = neighbours(cloud, 5, 4)
        np.testing.assert_allclose(centres, expected[0])
        np.testing.assert_allclose(points, expected[1], atol=1e-6)


def test_the_loss_is_the_chamfer_distance(bricks):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(2, 3, 5, 3)).astype(np.float32) for _ in range(2))
    found = bricks.chamfer(jnp.asarray(a.reshape(2, 3, 15)), jnp.asarray(b.reshape(2, 3, 15)))
    squared = ((a[:, :, :, None] - b[:, :, None]) ** 2).sum(-1)
    expected = squared.min(3).mean(2) + squared.min(2).mean(2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_config_is_planned_without_pictures_and_says_so(bricks):
    config = load(str(EXAMPLES / "points.py"))
    parts = assemble(config, 256)
    (remark,) = picture_remarks(parts)
    assert remark.startswith("pictures of 'points' are skipped: ")
    shapes = cost.variables_shapes(parts)
    tokens = cost.tokens_per_example(parts.method, shapes, cost.batch_shapes(config, 2))
    assert tokens == (16, 6, 10)
    assert config.evals.at_end and set(config) == set(base())


@pytest.mark.full
def test_what_is_hidden_plays_no_part_but_for_its_centre(bricks):
    spec = assemble(load(str(EXAMPLES / "points.py")), 256).spec
    net = bricks.point_net(spec, groups=4, size=4, depth=1, width=8)
    clouds = np.stack([bricks.Shapes(2, 0)[i].encoded[:256] for i in range(2)])
    params, inputs = net.init(jax.random.key(0)), net.inputs({"points": jnp.asarray(clouds)})
    tokens = jnp.tile(jnp.arange(4, dtype=jnp.int32), (2, 1))
    hidden = jnp.tile(jnp.array([False, False, True, True]), (2, 1))
    mask = bricks.Mask(tokens[:, :2], tokens[:, 2:], hidden, jnp.ones((2, 2)))

    @quick_jit
    def predict(inputs):
        return net.predict(params, net.encode(params, inputs, mask), mask)["points"]

    found = predict(inputs)
    changed = jnp.where(hidden[..., None, None], inputs.points + 1, inputs.points)
    np.testing.assert_array_equal(predict(inputs._replace(points=changed)), found)
    moved = jnp.where(hidden[..., None], inputs.centres + 1, inputs.centres)
    assert np.abs(predict(inputs._replace(centres=moved)) - found).max() > 1e-3
    seen = jnp.where(hidden[..., None, None], inputs.points, inputs.points + 1)
    assert np.abs(predict(inputs._replace(points=seen)) - found).max() > 1e-3


def trained(folder, example, *further):
    """Train an example for three steps of eight from the command line; return output, results."""
    small = [
        "train.epochs=1",
        "train.batch_size=8",
        "data.train.count=24",
        "evals.train.count=24",
        "evals.test.count=24",
        "schedule.warmup_epochs=0.1",
        "evals.batch_size=24",
        "log.pictures_every_epochs=0.5",
        *further,
    ]
    flags = [f"--config.{text}" for text in small]
    done = run(
        "train",
        *("--config", EXAMPLES / example, "--workdir", folder, *flags),
        **{**as_tests(), "PYTHONPATH": f"{EXAMPLES}:{ROOT}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((folder / "results.json").read_text())
    assert results["step"] == 3 and "failed" not in results
    return done.stdout, results


@pytest.mark.full
def test_the_example_trains_and_is_evaluated_from_the_command_line(tmp_path):
    small = "evals.at_end=knn", "model.depth=1", "model.width=8"
    output, results = trained(tmp_path, "points.py", *small)
    assert output.count("pictures of 'points' are skipped") == 1
    metrics = results["probes"]["encoders"]["this encoder"]["metrics"]
    assert 0 < metrics["knn/shape/top1"] <= 1
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["loss.png"]


@pytest.mark.full
def test_the_series_train_and_are_drawn_from_the_command_line(tmp_path):
    small = "evals.at_end=knn", "evals.monitors=()", "model.variant=1x16x2", "input.size=32"
    output, results = trained(tmp_path, "series.py", *small)
    assert "are skipped" not in output
    encoders = results["probes"]["encoders"]
    assert list(encoders) == ["raw values", "random init", "this encoder"]
    assert encoders["raw values"]["dimensions"] == 32
    assert all(0 < each["metrics"]["knn/form/top1"] <= 1 for each in encoders.values())
    drawn = {path.name for path in (tmp_path / "images").iterdir()}
    assert {"loss.png", "masks.png", "reconstruction-2.png"} <= drawn

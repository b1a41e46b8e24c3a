"""Measures: what they may yield, what they need, and that one leaves the others."""

from types import SimpleNamespace

import numpy as np
import pytest

from maskmim.config import facts
from maskmim.config.bricks import BrickError
from maskmim.config.load import load, override
from maskmim.config.parse import ConfigError
from maskmim.evals.agreement import averaged, mean_cosine
from maskmim.evals.before_training import check_names, skipped_measures
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import Measured, run_measures
from maskmim.evals.needs import NEEDS, unmet
from maskmim.evals.report import measure_lines
from maskmim.evals.results_table import results_table
from maskmim.evals.run import first_values, with_monitors
from maskmim.reporting.metrics_file import flat_metrics
from tests.evals.small import trained_on


def pair(trained):
    yield "pair/a", 1
    yield "pair/b", np.float32(2.5)


def rich(trained):
    yield Measured("rich", 3.0, "rich three", "too rich: 3", np.zeros((2, 2, 3), np.uint8))
    yield Measured("silent", 4.0, "")


def broken(trained):
    yield "broken/first", 1.0
    raise ZeroDivisionError("in the middle")


def unsuitable(trained):
    raise Unsuitable("no pictures here")
    yield


def test_all_values_come_with_texts_warnings_and_pictures():
    found = run_measures(trained_on(), {"pair": pair, "rich": rich})
    assert found.metrics == {"pair/a": 1.0, "pair/b": 2.5, "rich": 3.0, "silent": 4.0}
    assert found.texts == ["pair/a 1", "pair/b 2.5", "rich three"]
    assert found.warnings == ["too rich: 3"] and list(found.pictures) == ["rich"]
    assert set(found.seconds) == {"pair", "rich"}
    stored = found.as_results({"pair": pair, "rich": rich})
    assert stored["metrics"] == found.metrics and stored["warnings"] == found.warnings
    assert stored["protocol"]["pair"]["brick"].endswith("test_measures.pair")
    lines = measure_lines(stored)
    assert lines[3:6] == ["pair/a  1", "pair/b  2.5", "rich    rich three"]
    assert "silent" not in "".join(lines) and "warning: too rich: 3" in lines
    results = {"step": 2, "images_seen": 8, "measures": stored}
    assert flat_metrics(results) == found.metrics and "warning: too rich: 3" in results_table(
        results
    )


def test_one_that_fails_or_does_not_suit_leaves_the_others(capsys):
    bricks = {"broken": broken, "unsuitable": unsuitable, "lacking": rich, "pair": pair}
    found = run_measures(trained_on(), bricks, skipped={"lacking": "no labels", "other": "no"})
    assert "lacking skipped: no labels" in measure_lines(found.as_results({}))
    assert found.failed == {"broken": "ZeroDivisionError: in the middle"}
    assert found.skipped == {"lacking": "no labels", "unsuitable": "no pictures here"}
    assert list(found.metrics) == ["pair/a", "pair/b"]
    assert "Traceback" in capsys.readouterr().err


def test_images_that_a_measure_reads_without_a_need_are_explained(capsys):
    def careless(trained):
        yield "count", len(trained.test.records)

    without = trained_on(test=None, train=None)
    (why,) = run_measures(without, {"careless": careless}).failed.values()
    assert "evals.test names no images" in why and "needs=('test',)" in why
    assert "NoneType" in why and "Traceback" in capsys.readouterr().err
    (other,) = run_measures(without, {"broken": broken}).failed.values()
    assert other == "ZeroDivisionError: in the middle"


PARTS = SimpleNamespace(
    method=SimpleNamespace(apply={"encode": None}),
    evals=SimpleNamespace(test=lambda: SimpleNamespace(labels={"kind": ("a",)}), train=None),
    spec=SimpleNamespace(streams={}),
    shapes=SimpleNamespace(params={}, extra={}),
)


def needing(*needs):
    @facts.measure(needs=needs)
    def brick(trained):
        yield "x", 1.0

    return brick


def test_needs_that_are_not_met_have_a_sentence():
    bricks = {need: needing(need) for need in NEEDS} | {"none": needing()}
    reasons = unmet(bricks, PARTS)
    assert set(reasons) == {"label_maps", "loss", "samples", "student", "training"}
    assert reasons["loss"].startswith("this method has no objective")
    assert "generate samples" in reasons["samples"] and "averages" in reasons["student"]
    bare = SimpleNamespace(**{**vars(PARTS), "evals": SimpleNamespace(test=None, train=None)})
    assert "evals.test names no images" in unmet(bricks, bare)["labels"]
    unlabelled = SimpleNamespace(test=lambda: SimpleNamespace(labels={}), train=None)
    parts = SimpleNamespace(**{**vars(PARTS), "evals": unlabelled})
    assert "have no labels" in unmet(bricks, parts)["labels"] and "test" not in unmet(bricks, parts)
    both = unmet({"both": needing("samples", "training")}, PARTS)["both"]
    assert "samples; evals.train" in both


def test_every_need_is_known_to_the_decorator_and_no_other():
    assert set(NEEDS) == set(facts.MEASURE_NEEDS)


@pytest.fixture(scope="module")
def config():
    return load("configs/mae.py:tiny")


def test_monitors_that_the_method_has_nothing_for_are_left_out():
    measures = {"held_out": needing("test"), "agreement": needing("student")}
    evals = SimpleNamespace(test=None, train=None, measures=measures)
    parts = SimpleNamespace(**{**vars(PARTS), "evals": evals})
    names = with_monitors(("knn",), tuple(measures), parts)
    assert names == ("knn", "held_out")
    (told,) = skipped_measures(parts, names[1:])
    assert told.startswith("held_out will be skipped: evals.test names no images")
    assert with_monitors(("agreement",), tuple(measures), parts) == ("agreement", "held_out")
    assert len(skipped_measures(parts, ["agreement", "held_out"])) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("evals.monitors=knn", "evals.monitors: there is no evaluation 'knn'; known are agreement"),
        ("evals.monitors=held_outt", "did you mean held_out?"),
        ("evals.at_end=heldout", "did you mean held_out?"),
        ("evals.during=lidarr", "did you mean lidar?"),
    ],
)
def test_unknown_measures_are_refused(config, change, words):
    check_names(override(config, ["evals.during=lidar,knn", "evals.at_end=reconstruction,lidar"]))
    with pytest.raises(ConfigError) as error:
        check_names(override(config, [change]))
    assert words in str(error.value)


@pytest.mark.parametrize("name", ["knn", "reconstruction"])
def test_a_measure_with_the_name_of_another_evaluation_is_refused(config, name):
    flag = f"evals.measures.{name}.brick=maskmim.evals.lidar.lidar"
    with pytest.raises(ConfigError, match=f"evals.measures has '{name}', which is another"):
        check_names(override(config, [flag]))


def test_flags_add_measures_and_probes(config):
    path = "maskmim.evals.label_accuracy.label_accuracy"
    flags = [f"evals.measures.fine.brick={path}", "evals.measures.fine.labels=fine"]
    added = override(config, [*flags, "evals.probes.near.brick=maskmim.evals.knn.knn"])
    assert added.evals.measures.fine.labels == "fine" and added.evals.probes.near.k == 20
    assert added.evals.measures.held_out == config.evals.measures.held_out
    with pytest.raises(ConfigError, match=r"needs evals\.measures\.fine\.labels"):
        override(config, flags[:1])


@pytest.mark.parametrize(
    ("key", "path", "words"),
    [
        ("measures.lidar", "maskmim.evals.knn.knn", ["Features, not with Trained", "a measure"]),
        ("measures.lidar", "maskmim.evals.held_out.heldout", ["held_out.held_out"]),
        ("probes.knn", "maskmim.evals.lidar.lidar", ["Trained, not with Features", "a probe"]),
        ("measures.lidar", "maskmim.losses.squared_error", ["a measure"]),
    ],
)
def test_functions_of_another_kind_are_refused(config, key, path, words):
    with pytest.raises((ConfigError, BrickError)) as error:
        override(config, [f"evals.{key}.brick={path}"])
    assert all(word in str(error.value) for word in words), str(error.value)


def test_first_values():
    rows = [{"step": 0, "rank": 5.0}, {"step": 1, "loss": 2.0, "rank": 4.0, "std": None}]
    assert first_values(rows) == {"step": 0, "rank": 5.0, "loss": 2.0}


def test_mean_cosine():
    first, second = np.random.default_rng(0).normal(size=(2, 9, 4)).astype(np.float32)
    pairs = zip(first, second, strict=True)
    cosines = [a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in pairs]
    assert mean_cosine(first, second) == pytest.approx(np.mean(cosines), rel=1e-5)
    assert mean_cosine(first, 3 * first) == pytest.approx(1.0)
    assert mean_cosine(first, 0 * first) == 0.0


def test_an_average_repeats_the_encoder():
    params = {"encoder": {"w": np.ones((2, 3))}, "decoder": {"w": np.ones(4)}}
    average = {"encoder": {"w": np.zeros((2, 3))}}
    found = averaged(params, {"noise": {}, "ema": average})
    assert found["encoder"] is average["encoder"] and found["decoder"] is params["decoder"]
    assert averaged(params, {"centre": {"tokens": np.ones(3)}}) is None
    assert averaged(params, {"ema": {"decoder": params["decoder"]}}) is None
    assert averaged(params, {"ema": {"encoder": {"w": np.ones((3, 3))}}}) is None
    assert averaged(params, {"ema": {"encoder": {"v": np.ones((2, 3))}}}) is None
    assert averaged((), {}) is None

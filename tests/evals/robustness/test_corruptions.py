"""Errors on corrupted pictures, counted again by hand; mCE beside its formula in numpy."""

import functools
import json

import numpy as np
import pytest

from maskmim.config.parse import ConfigError
from maskmim.data.corruptions import LEVELS, CorruptionError, corrupted
from maskmim.data.transforms import resize_center_crop
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import run_measures
from maskmim.evals.robustness.classifiers import knn
from maskmim.evals.robustness.corruption_errors import (
    corruption_error,
    mean_error,
    read_baseline,
    relative_corruption_error,
)
from maskmim.evals.robustness.corruptions import corruptions
from maskmim.evals.trained import spread
from tests.evals.robustness.made import by_colour, nearest_shade, records_of, shaded

NAMES = ("shot_noise", "brightness", "contrast")


@pytest.fixture(scope="module")
def trained():
    return by_colour(13)


@pytest.fixture(scope="module")
def found(trained):
    return {
        m.name: m for m in corruptions(trained, names=NAMES, images=7, classifier=nearest_shade)
    }


def errors_of(trained, name, severity):
    """The errors on the pictures of a corruption, by a loop over them."""
    wrong = []
    for record in spread(13, 7):
        (picture,) = (
            batch["image"][0]
            for batch in trained.test._replace(size=1).batches(13)
            if batch["record"][0] == record
        )
        if severity:
            picture = corrupted(picture, name, severity, index=int(record))
        distance = np.abs(picture.mean() - np.array([32.0, 102.0, 172.0]))
        wrong.append(distance.argmin() != record % 3)
    return np.mean(wrong)


def test_errors_are_those_of_a_loop(trained, found):
    assert found["corruptions/clean"].value == errors_of(trained, "", 0) == 0
    table = {}
    for name in NAMES:
        table[name] = [errors_of(trained, name, severity) for severity in LEVELS]
        values = [found[f"corruptions/{name}/{severity}"].value for severity in LEVELS]
        assert values == pytest.approx(table[name])
        assert found[f"corruptions/{name}"].value == pytest.approx(np.mean(table[name]))
    assert max(table["brightness"]) > 0.5
    mean = found["corruptions/mean_error"]
    assert mean.value == pytest.approx(np.mean(list(table.values())))
    assert "7 images, kind, nearest classifier" in mean.text and mean.picture.ndim == 3
    assert found["corruptions/clean"].picture.ndim == 3 and "corruptions/mce" not in found


KEPT = {"names": ("brightness",), "images": 7, "classifier": nearest_shade}
OTHER = {"corruptions/clean": 0.1, "corruptions/brightness": 0.4}


def baseline_of(file, trained, **changes):
    """Write the results of an encoder with other errors, which were measured with some changes."""
    found = run_measures(trained, {"c": functools.partial(corruptions, **{**KEPT, **changes})})
    assert not found.failed
    bricks = {"c": corruptions}
    file.write_text(json.dumps({"measures": found.as_results(bricks) | {"metrics": OTHER}}))
    return str(file)


def test_with_a_baseline_there_is_mce(trained, tmp_path):
    file = tmp_path / "results.json"
    baseline_of(file, trained)
    measured = {m.name: m for m in corruptions(trained, **KEPT, baseline=str(file))}
    assert "over 1 corruption, 7 images" in measured["corruptions/mean_error"].text
    found = {name: m.value for name, m in measured.items()}
    ours = found["corruptions/brightness"]
    assert found["corruptions/mce"] == pytest.approx(ours / 0.4)
    assert found["corruptions/relative_mce"] == pytest.approx(ours / (0.4 - 0.1))
    for path, names, told in (
        (file, ("jpeg",), "lacks corruptions/jpeg"),
        (tmp_path / "none", ("brightness",), "cannot be read as a results.json"),
    ):
        with pytest.raises(ConfigError, match=told):
            read_baseline(str(path), "corruptions", names)


def test_a_baseline_of_another_test_is_refused(trained, tmp_path):
    file = tmp_path / "results.json"
    elsewhere = records_of(shaded(13)[:, :24])
    for changes, source, told in (
        ({"images": 6}, trained.test, "images 6 there, 7 here"),
        ({"classifier": other_title}, trained.test, "classifier 'other' there, 'nearest' here"),
        ({}, trained.test._replace(open=lambda: elsewhere), "evals.test '13 images, fing"),
        ({}, trained.test._replace(transform=whole), "evals.transform '.*whole' there"),
    ):
        baseline_of(file, trained._replace(test=source), **changes)
        with pytest.raises(ConfigError, match=told):
            list(corruptions(trained, **KEPT, baseline=str(file)))
    file.write_text(json.dumps({"measures": {"metrics": OTHER}}))
    with pytest.raises(ConfigError, match="does not say of which labels, images and classifier"):
        list(corruptions(trained, **KEPT, baseline=str(file)))


def other_title(trained, labels):
    return nearest_shade(trained, labels)._replace(title="other")


def whole(rng, image, size):
    return resize_center_crop(rng, image, size, crop_fraction=1.0)


def test_a_baseline_of_another_classifier_s_settings_is_refused(trained, tmp_path):
    file = tmp_path / "results.json"
    baseline_of(file, trained, classifier=functools.partial(knn, k=3, temperature=0.1))
    changed = {**KEPT, "classifier": functools.partial(knn, k=3)}
    with pytest.raises(ConfigError, match=r"classifier.temperature 0.1 there, 0.07 here"):
        list(corruptions(trained, **changed, baseline=str(file)))


def test_mean_errors_are_those_of_numpy():
    rng = np.random.default_rng(0)
    ours, theirs = rng.uniform(0.2, 0.9, (2, 4, 5))
    errors = dict(zip("abcd", ours.tolist(), strict=True))
    baseline = dict(zip("abcd", theirs.mean(1).tolist(), strict=True))
    assert mean_error(errors) == pytest.approx(ours.mean())
    expected = np.mean(ours.sum(1) / theirs.sum(1))
    assert corruption_error(errors, baseline) == pytest.approx(expected)
    expected = np.mean((ours - 0.1).sum(1) / (theirs - 0.15).sum(1))
    assert relative_corruption_error(errors, 0.1, baseline, 0.15) == pytest.approx(expected)
    assert corruption_error(errors, dict.fromkeys("abcd", 0.0)) == np.inf


def test_what_cannot_be_corrupted_is_said(trained):
    with pytest.raises(CorruptionError, match="known are gaussian_noise"):
        list(corruptions(trained, names=("rain",)))
    deep = trained._replace(spec=trained.spec._replace(dtype="float32"))
    with pytest.raises(Unsuitable, match="pictures of 8 bits with 1 or 3 channels"):
        list(corruptions(deep))

"""Folders of other pictures: classes go by name, and those that a folder lacks do not count."""

import functools
import json

import numpy as np
import pytest
from PIL import Image

from maskmim.config.parse import ConfigError
from maskmim.data.corruptions import LEVELS
from maskmim.evals.measures import run_measures
from maskmim.evals.robustness.shifted import shifted, shifted_by_severity
from tests.evals.robustness.made import KINDS, by_colour, nearest_shade, shaded


def write(folder, kinds, brighter=0):
    """Two pictures in a folder for each kind; brighter ones look like another kind."""
    images = shaded(6)
    for number, kind in enumerate(KINDS):
        for place in (number, number + 3):
            if kind in kinds:
                (folder / kind).mkdir(parents=True, exist_ok=True)
                levels = np.clip(images[place].astype(int) + brighter, 0, 255).astype(np.uint8)
                Image.fromarray(levels).save(folder / kind / f"{place}.png")
    return folder


@pytest.fixture(scope="module")
def trained():
    return by_colour(12)


def found_by(measure, trained, **keywords):
    return {m.name: m for m in measure(trained, classifier=nearest_shade, **keywords)}


def test_all_classes(trained, tmp_path):
    found = found_by(shifted, trained, path=str(write(tmp_path / "sketch", KINDS)))
    assert found["shifted/sketch"].value == found["shifted/sketch/clean"].value == 1
    assert "6 images, 3 of 3 classes" in found["shifted/sketch"].text
    brighter = write(tmp_path / "b", KINDS, brighter=70)
    found = found_by(shifted, trained, path=str(brighter), title="bright")
    assert found["shifted/bright"].value == pytest.approx(1 / 3)  # light stays light


def test_some_classes_are_told_from_each_other_alone(trained, tmp_path):
    """Dark pictures that look grey are dark, where no class is grey."""
    path = write(tmp_path / "a", ("dark", "light"), brighter=60)
    found = found_by(shifted, trained, path=str(path))
    assert found["shifted/a"].value == 1 and found["shifted/a/clean"].value == 1
    assert "2 of 3 classes" in found["shifted/a"].text
    assert "8 images of evals.test" in found["shifted/a/clean"].text
    assert found_by(shifted, trained, path=str(path), images=2)["shifted/a"].value == 1


def test_unknown_classes_and_unreadable_pictures_are_told(trained, tmp_path):
    path = write(tmp_path / "a", KINDS)
    (path / "dark" / "torn.png").write_bytes(b"\x89PNG torn")
    found = found_by(shifted, trained, path=str(path))
    assert "cannot be read and does not count" in found["shifted/a"].warning
    (path / "blue").mkdir()
    Image.fromarray(shaded(1)[0]).save(path / "blue" / "1.png")
    with pytest.raises(ConfigError, match=r"has 1 class that the labels 'kind' .*blue"):
        found_by(shifted, trained, path=str(path))


def test_the_layout_of_imagenet_c(trained, tmp_path):
    for name, step in (("fog", 0), ("glare", 20)):
        for level in LEVELS:
            write(tmp_path / name / str(level), KINDS, brighter=step * level)
    write(tmp_path / "extra" / "1", KINDS)
    keywords = {"path": str(tmp_path), "title": "imagenet_c"}
    found = found_by(shifted_by_severity, trained, **keywords)
    errors = {name.removeprefix("imagenet_c/"): m.value for name, m in found.items()}
    assert errors["clean"] == 0 and "extra" not in errors
    assert [errors[f"fog/{level}"] for level in LEVELS] == [0] * 5
    glare = [errors[f"glare/{level}"] for level in LEVELS]
    assert glare == sorted(glare) and glare[0] == 0 and glare[-1] == pytest.approx(2 / 3)
    assert errors["mean_error"] == pytest.approx(sum(glare) / 10)
    file = tmp_path / "results.json"
    bricks = {"c": functools.partial(shifted_by_severity, classifier=nearest_shade, **keywords)}
    file.write_text(json.dumps({"measures": run_measures(trained, bricks).as_results(bricks)}))
    baseline = {"baseline": str(file), **keywords}
    assert "imagenet_c/mce" in found_by(shifted_by_severity, trained, **baseline)
    (tmp_path / "glare" / "3" / "dark" / "0.png").unlink()
    with pytest.raises(ConfigError, match=r"glare/3 '.* 6 images.* there, '.* 5 images.* here"):
        found_by(shifted_by_severity, trained, **baseline)
    with pytest.raises(ConfigError, match="for classes use `shifted`"):
        found_by(shifted_by_severity, trained, path=str(tmp_path / "fog" / "1"))

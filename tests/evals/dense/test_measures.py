"""Segmentation and depth as measures: scores at the resolution of the maps, void, bad files."""

import functools
from functools import partial

import jax
import numpy as np
import pytest

from maskmim.data.records import DataError
from maskmim.evals.dense.data import Pair, crop_spec, folders, pairs_of, scene_classes, scene_depth
from maskmim.evals.dense.depth import depth
from maskmim.evals.dense.in_context import in_context
from maskmim.evals.dense.own_head import own_head
from maskmim.evals.dense.pictures import (
    draw_predictions,
    key_of_classes,
    painted_amounts,
    painted_classes,
)
from maskmim.evals.dense.segmentation import decided, segmentation
from maskmim.evals.dense.trained_head import trained_head
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import run_measures
from maskmim.reporting.sheets import with_key
from tests.compiling import quick_jit
from tests.data.files import encoded, write
from tests.evals.dense.made import COLOURS, Painted, painted_depth
from tests.evals.dense.made import painted_classes as classes_of
from tests.evals.small import trained_on
from tests.tiny import tiny_method

METHOD = tiny_method()


@functools.cache
def variables(seed):
    """Variables of the tiny method before training."""
    return quick_jit(METHOD.variables)(jax.random.key(seed))


def trained(**changes):
    """A Trained of the tiny method before training."""
    given = {"variables": variables(0), "before": partial(variables, 1)}
    return trained_on(method=METHOD, **given, **changes)


def by_colour(problem):
    """A learner that knows the colours of the classes."""

    def predict(pictures):
        far = np.abs(pictures[..., None, :].astype(int) - COLOURS.astype(int)).sum(-1)
        return -far.astype(np.float32)

    return {"": predict}


def always(outputs, place, value=1.0):
    """A learner that answers the same everywhere."""
    answer = np.zeros(outputs, np.float32)
    answer[place] = value

    def predict(pictures):
        return np.broadcast_to(answer, (*pictures.shape[:3], outputs))

    return lambda problem: {"": predict}


def scores_of(brick, **changes):
    """What a measure found; of the trained encoder alone, unless `beside` names others."""
    changes = {"beside": (), **changes}
    found = run_measures(trained(), {"dense": partial(brick, name="x", **changes)})
    assert not found.failed and not found.skipped, found
    return found


def test_classes_are_scored_at_the_resolution_of_their_maps():
    found = scores_of(segmentation, data=classes_of(times=2), learner=by_colour)
    assert found.metrics["segmentation/x/pixel_accuracy"] == pytest.approx(1.0, abs=0.12)
    assert found.metrics["segmentation/x/miou"] > 0.8


class Checks(Painted):
    """Pictures whose maps alternate between two classes from pixel to pixel."""

    def __getitem__(self, index):
        example = super().__getitem__(index)
        fine = np.indices(example.encoded["classes"].shape[:2]).sum(0) % 2
        return example._replace(
            encoded={**example.encoded, "classes": fine.astype(np.uint8)[..., None]}
        )


def test_labels_are_never_shrunk():
    data = classes_of(times=2)
    data.keywords["test"] = partial(Checks, 4, times=2)
    found = scores_of(segmentation, data=data, learner=always(3, 0))
    assert found.metrics["segmentation/x/pixel_accuracy"] == 0.5  # 1 or 0 of shrunk maps


def test_pixels_of_no_class_do_not_count_and_are_never_predicted():
    logits = np.zeros((4, 4, 3), np.float32)
    logits[..., 1] = 9.0
    assert (decided(logits, None) == 1).all() and (decided(logits, 1) != 1).all()
    assert (decided(logits, 255) == 1).all()
    found = scores_of(segmentation, data=classes_of(void=2), learner=always(3, 2))
    counted = found.metrics["segmentation/x/class_accuracy"]
    assert counted == pytest.approx(0.5)  # class 0 is taken in place of void, class 1 missed


def test_pictures_that_cannot_be_read_are_named():
    found = scores_of(segmentation, data=classes_of(bad=(1, 3)), learner=by_colour)
    (warning,) = found.warnings
    assert warning.startswith("2 images of segmentation/x (data.test) cannot be read")
    assert "painted 1 (torn)" in warning
    assert found.metrics["segmentation/x/miou"] > 0.8


def test_depth_is_scored_at_the_resolution_of_its_maps():
    found = scores_of(depth, data=painted_depth(times=2), learner=always(1, 0, 2.0))
    records = Painted(6, times=2, seed=1)
    truth = np.stack([records[i].encoded["depth"] for i in range(6)])
    expected = np.sqrt(np.mean((truth - 2.0) ** 2))
    assert found.metrics["depth/x/rmse"] == pytest.approx(expected, rel=1e-5)
    assert found.metrics["depth/x/delta1"] == pytest.approx(np.mean(truth == 2.0))


@pytest.mark.full
@pytest.mark.parametrize("layers", [(), (0.5, 1.0)])
def test_the_encoder_is_compared_with_its_start_and_with_colours(layers):
    learners = partial(in_context, k=5, memory=512), partial(trained_head, steps=60, lr=0.03)
    for learner in learners:
        given = {"data": classes_of(), "learner": learner, "layers": layers}
        found = scores_of(segmentation, beside=("random_init", "raw_colours"), **given)
        names = [name for name in found.metrics if name.endswith("miou")]
        assert names == [f"segmentation/x/{e}miou" for e in ("", "random_init/", "raw_colours/")]
        assert found.metrics["segmentation/x/raw_colours/miou"] > 0.6
        assert set(found.table) == set(names)
        (picture,) = found.pictures.values()
        assert picture.dtype == np.uint8 and min(picture.shape[:2]) > 100


def test_a_head_that_the_network_lacks_is_an_error():
    measures = {"dense": partial(segmentation, name="x", data=classes_of(), learner=own_head)}
    why = run_measures(trained(), measures).failed["dense"]
    assert "there is no head 'classes'" in why


def test_a_set_without_examples_is_skipped():
    brick = partial(segmentation, name="x", data=classes_of(test=0), learner=by_colour)
    why = run_measures(trained(), {"dense": brick}).skipped["dense"]
    assert "data.test of this evaluation has no examples" in why


def test_scenes_are_split_by_photographs_and_declared():
    for brick in (scene_classes, scene_depth):
        data = brick(count=3, test_count=2, size=(32, 40))
        assert len(data.train()) == 3 and len(data.test()) == 2
        assert data.train().fingerprint != data.test().fingerprint
        chosen_by = brick(count=3, test_count=2, size=(32, 40), test_split="val")
        assert chosen_by.test().fingerprint != data.test().fingerprint
    for names in (("Pear", "Milk"), ()):
        data = scene_classes(count=1, names=names)
        assert data.classes == len(data.train().classes) == (len(names) or 43)


@pytest.mark.parametrize(
    "layout, void",
    [
        ({}, 0),
        ({"train": ("train", "trainannot"), "test": ("test", "testannot")}, 2),
    ],
)
def test_folders_of_ade20k_and_camvid_are_read(tmp_path, layout, void):
    pairs = layout or {
        "train": ("images/training", "annotations/training"),
        "test": ("images/validation", "annotations/validation"),
    }
    records = Painted(3, times=1)
    for images, maps in pairs.values():
        for index in range(3):
            arrays = records[index].encoded
            pair = {images: arrays["image"], maps: arrays["classes"][..., 0]}
            files = {f"{folder}/{index}.png": encoded(a, "PNG") for folder, a in pair.items()}
            write(tmp_path, files)
    data = folders(path=str(tmp_path), classes=3, void=void, **layout)
    found = list(pairs_of(data, data.test(), trained(), 10, {}))
    assert len(found) == 3 and isinstance(found[0], Pair)
    for index, pair in enumerate(found):
        np.testing.assert_array_equal(pair.picture, records[index].encoded["image"])
        np.testing.assert_array_equal(pair.target, records[index].encoded["classes"][..., 0])
    (tmp_path / next(iter(pairs.values()))[1] / "2.png").unlink()
    with pytest.raises(DataError, match="has no partner"):
        data.train()


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_index_that_is_no_class_names_the_file_and_the_keys(part):
    data = classes_of(train=4, test=4)
    data.keywords[part] = partial(Outside, 4)
    learner = partial(trained_head, steps=4, batch_size=4)
    measure = partial(segmentation, name="x", data=data, learner=learner, beside=())
    (why,) = run_measures(trained(), {"dense": measure}).failed.values()
    assert "maps/0.png (classes): has the index 7, but its classes are 0 ... 2: set " in why
    assert "evals.measures.dense.data.void=7 if it stands for no class, or evals." in why
    assert why.endswith("evals.measures.dense.data.classes=8")


class Outside(Painted):
    """Pictures of which the first has a map with an index beyond the classes."""

    def __getitem__(self, index):
        example = super().__getitem__(index)
        if index == 0:
            example.encoded["classes"][0, 0] = 7
        return example._replace(files={"classes": f"maps/{index}.png"})


class Turned(Painted):
    """Pictures of which the first has a map that is turned, by a class of painted pictures."""

    def __getitem__(self, index):
        example = super().__getitem__(index)
        if index:
            return example
        turned = {n: a if n == "image" else a.swapaxes(0, 1) for n, a in example.encoded.items()}
        return example._replace(encoded=turned, files={"classes": "maps/0.png"})


@pytest.mark.parametrize("part", ["train", "test"])
def test_maps_of_another_aspect_than_their_pictures_do_not_count(part):
    data = classes_of(train=4, test=4)
    data.keywords[part] = partial(Turned, 4)
    learner = partial(trained_head, steps=4, batch_size=4)
    found = scores_of(segmentation, data=data, learner=learner)
    (warning,) = found.warnings
    assert warning.startswith(f"1 image of segmentation/x (data.{part}) cannot be read")
    assert "classes (maps/0.png): 40 x 32 (height x width), but image is 32 x 40" in warning
    assert "data.augment" not in warning


def test_a_run_on_something_else_than_pictures_is_skipped():
    spec = trained().spec._replace(size=(4, 32, 24))
    measure = partial(segmentation, name="x", data=classes_of(), learner=by_colour)
    with pytest.raises(Unsuitable, match="use it with a run on images"):
        list(measure(trained(spec=spec)))


def test_crops_have_a_map_of_as_many_pixels():
    spec = crop_spec(classes_of()(), trained().spec)
    assert spec.fields["classes"].shape == spec.size == (32, 24)
    assert spec.fields["classes"].dtype == "int32" and not spec.streams and not spec.labels


def test_maps_are_painted_beside_their_pictures():
    indices = np.array([[0, 1], [255, 3]])
    painted = painted_classes(indices, 3, 1)
    assert (painted[0, 0] != 0).any()
    assert not painted[0, 1].any() and not painted[1].any()  # void, beyond the classes
    grey = painted_amounts(np.array([[0.0, 1.0], [2.0, 4.0]]), 4.0)
    assert list(grey[0, 0]) == [160, 0, 0] and list(grey[..., 0].ravel()[1:]) == [191, 128, 0]
    pictures = [np.zeros((20, 30, 3), np.uint8), np.zeros((10, 10, 1), np.float32)]
    maps = [np.full((5, 6, 3), 200, np.uint8)] * 2
    sheet = draw_predictions(pictures, maps, maps, title="two")
    assert sheet.ndim == 3 and (sheet == 200).all(-1).sum() > 4 * 100**2


def test_a_key_says_what_class_each_colour_is():
    key = key_of_classes({2, 0})
    assert list(key) == ["class 0", "class 2"]
    assert key["class 2"] == tuple(painted_classes(np.array([[2]]), 3, None)[0, 0])
    sheet = with_key(np.zeros((9, 300, 3), np.uint8), key)
    assert sheet.shape[1:] == (300, 3) and not sheet[:9].any()
    for colour in key.values():
        assert (sheet[9:] == colour).all(-1).sum() > 50
    narrow = with_key(np.zeros((9, 120, 3), np.uint8), key)
    assert len(narrow) > len(sheet)  # the second class stands on a line of its own

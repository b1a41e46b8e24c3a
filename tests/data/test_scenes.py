"""Scenes: their maps agree with each other and with what was painted; splits share nothing."""

import numpy as np
import pytest

from maskmim.data.decode import as_stored, picture
from maskmim.data.decode_each import each
from maskmim.data.grocery import grocery
from maskmim.data.label_maps import label_map
from maskmim.data.records import DataError, Records
from maskmim.data.scenes import BACKGROUND, EIGHT, FAR, NEAR, class_scenes, scenes
from maskmim.data.smooth_shapes import HEIGHT, WAVES, opacity, random_outline

SIZE = (48, 64)


def arrays_of(index, split="val", **changes):
    """The arrays of a scene, maps without their only channel."""
    example = scenes(split=split, count=40, **{"size": SIZE, **changes})[index].encoded
    return {name: a if name == "image" else a[..., 0] for name, a in example.items()}


def test_scenes_are_the_same_at_every_reading():
    records, again = (scenes(split="val", count=9, size=SIZE) for _ in range(2))
    assert isinstance(records, Records) and len(records) == 9 and records.labels == {}
    assert records.classes == grocery(split="val").labels["coarse"]
    assert records.fingerprint == again.fingerprint
    others = {"count": 8}, {"seed": 1}, {"blur": 0.0}, {"names": ("Pear",)}
    for changes in others:
        other = scenes(**{"split": "val", "count": 9, "size": SIZE, **changes})
        assert records.fingerprint != other.fingerprint
    for name, array in records[3].encoded.items():
        assert array.shape == (*SIZE, 3 if name == "image" else 1)
        assert array.dtype == (np.float32 if name == "depth" else np.uint8)
        np.testing.assert_array_equal(array, again[3].encoded[name])
    with pytest.raises(IndexError):
        records[9]


def test_splits_share_no_photograph_and_no_outline():
    names = [{g.name(i) for i in range(len(g))} for g in map(of_split, ("train", "test"))]
    assert not names[0] & names[1]
    maps = [[arrays_of(i, split)["alpha"] for i in range(6)] for split in ("val", "test")]
    assert all((one != other).any() for one, other in zip(*maps, strict=True))


def of_split(split):
    return grocery(split=split)


@pytest.mark.parametrize("index", range(12))
def test_maps_agree_with_each_other(index):
    scene = arrays_of(index)
    objects = scene["instances"] > 0
    np.testing.assert_array_equal(objects, scene["order"] > 0)
    np.testing.assert_array_equal(objects, scene["alpha"] >= 128)
    assert (scene["depth"][~objects] == BACKGROUND).all()
    assert len(np.unique(scene["classes"][~objects])) == 1
    found = {}
    for instance in np.unique(scene["instances"][objects]):
        inside = scene["instances"] == instance
        values = (np.unique(scene[name][inside]) for name in ("depth", "order", "classes"))
        (depth,), (order,), (label,) = values
        assert NEAR <= depth <= FAR and 0 <= label < 43
        found[order] = depth
    assert 1 <= len(found) <= 4
    nearer_last = [found[order] for order in sorted(found)]
    assert nearer_last == sorted(nearer_last, reverse=True)


def test_an_object_shows_its_photograph_and_hides_what_is_behind():
    photographs = grocery(split="val")
    lone = [arrays_of(index, objects=(1, 1)) for index in range(20)]
    near = min(lone, key=lambda scene: scene["depth"].min())
    inside = near["instances"] > 0
    (label,) = np.unique(near["classes"][inside])
    colour = near["image"][inside].mean(axis=0)
    same = [i for i in range(len(photographs)) if photographs[i].labels["coarse"] == label]
    means = np.array([picture(None, photographs[i].encoded).mean((0, 1)) for i in same])
    assert np.abs(means - colour).max(axis=1).min() < 40
    areas = [(scene["instances"] > 0).sum() * scene["depth"].min() ** 2 for scene in lone]
    assert np.median(areas) == pytest.approx(np.mean(areas), rel=0.3)  # size is 1 / distance


def test_decoders_read_each_map():
    decoders = {"image": picture, "classes": label_map, "depth": as_stored}
    encoded = scenes(split="val", count=2, size=SIZE)[0].encoded
    arrays = each(np.random.default_rng(0), encoded, {"image": 3}, streams=decoders)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, encoded[name])


@pytest.mark.parametrize("seed", range(5))
def test_a_shape_covers_the_area_of_its_outline(seed):
    outline = random_outline(np.random.default_rng(seed))
    radius, centre = 40.0, (52.3, 49.6)
    angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    pairs = zip(WAVES, outline, strict=True)
    waves = sum(np.real(a * np.exp(1j * k * angles)) for k, a in pairs)
    reach = radius * (1 + waves) / (1 + HEIGHT)
    assert reach.min() > 0 and reach.max() <= radius + 1e-9
    covered = opacity(outline, (104, 100), centre, radius)
    assert covered.sum() == pytest.approx(np.pi * np.mean(reach**2), rel=0.01)


def test_named_classes_alone_are_shown_each_as_often_as_the_others():
    names = ("Yoghurt", "Kiwi", "Pear")  # photographed 20, 5 and 5 times
    records = scenes(split="val", count=200, size=(16, 16), names=names, objects=(1, 1))
    assert records.classes == names
    shown = [np.unique(records[i].encoded["classes"]) for i in range(200)]
    counts = np.bincount(np.concatenate(shown), minlength=3)
    assert len(counts) == 3 and counts.min() > 0.7 * counts.max()


def test_seeds_compose_other_scenes_of_the_same_photographs():
    first, second = (arrays_of(3, seed=seed)["image"] for seed in (0, 1))
    assert (first != second).any()


def test_scenes_of_classes_have_the_eight_that_are_photographed_most():
    train, coarse = grocery(split="train"), grocery(split="train").labels["coarse"]
    counts = np.bincount([train[i].labels["coarse"] for i in range(len(train))])
    most = [coarse[i] for i in np.argsort(-counts)[: len(EIGHT)]]
    assert sorted(most) == sorted(EIGHT)
    scene = class_scenes(split="val", count=2, size=SIZE)[0].encoded
    assert scene["classes"].max() < len(EIGHT)


@pytest.mark.parametrize("side", [94, 95, 97, 113, 150, 170, 251])
def test_any_size_is_covered_by_a_photograph(side):
    scenes(split="val", count=1, size=(side, side + 1), objects=(4, 4), diameter=2.7)[0]


def test_unknown_names_are_an_error():
    with pytest.raises(DataError, match="names=Pears: the classes are Apple, "):
        scenes(split="val", names=("Pear", "Pears"))
    with pytest.raises(DataError, match="names=Plum: this split has no photograph of them"):
        scenes(split="val", names=("Plum", "Pear"))


def test_more_than_four_objects_are_an_error():
    with pytest.raises(DataError, match=r"objects=\(1, 5\): a scene has at most 4"):
        scenes(split="val", objects=(1, 5))

"""Multi-crop: the sizes of the crops and how each is changed."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PIL import Image

from maskmim.data.grocery import grocery
from maskmim.data.multi_crop import (
    Jitter,
    crop_pair,
    jitter_colours,
    multi_crop,
    multi_crop_shapes,
    rotate_hue,
)
from maskmim.data.pipeline import train_batches
from maskmim.data.records import DataError
from maskmim.types import Spec

PLAIN = partial(multi_crop, jitter_chance=0.0, grey_chance=0.0, local_size=(24, 24))


def noise(side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def test_a_batch_holds_large_and_small_crops():
    augment = partial(multi_crop, local_size=(24, 16), local_count=3)
    spec = Spec((32, 40), 3, (0.5,) * 3, (0.5,) * 3)
    records = grocery(split="val")
    open_ = partial(train_batches, records, spec=spec, batch_size=4, seed=1, augment=augment)
    batch = next(iter(open_()))
    assert batch["global"].shape == (4, 2, 32, 40, 3) and "image" not in batch
    assert batch["local"].shape == (4, 3, 24, 16, 3)
    views = batch["global"].reshape(8, -1).astype(int), batch["local"].reshape(12, -1).astype(int)
    for crops in views:
        assert all(np.abs(a - b).mean() > 1 for i, a in enumerate(crops) for b in crops[:i])
    again = next(iter(open_()))
    np.testing.assert_array_equal(batch["local"], again["local"])


def test_without_small_crops():
    found = multi_crop(np.random.default_rng(0), noise(), (32, 32), local_count=0)
    assert set(found) == {"global"}
    assert multi_crop_shapes((32, 32), 3, local_count=0) == {"global": (2, 32, 32, 3)}


def test_which_crops_are_blurred_and_solarised():
    """A flat bright picture shows solarisation, noise shows blur: the crops' neighbours differ."""
    draws = 300
    flat = np.full((64, 64, 3), 200, np.uint8)
    rng = np.random.default_rng(0)
    turned_dark = np.array(
        [
            [crop.mean() < 128 for crop in (*found["global"], *found["local"][:1])]
            for found in (PLAIN(rng, flat, (32, 32), local_count=1) for _ in range(draws))
        ]
    ).mean(axis=0)
    assert turned_dark[0] == 0 and turned_dark[2] == 0
    assert abs(turned_dark[1] - 0.2) < 4 * np.sqrt(0.2 * 0.8 / draws)
    still = partial(PLAIN, global_scale=(0.25, 0.25), local_scale=(0.14, 0.14), local_count=1)
    rough = np.array(
        [
            [
                np.abs(np.diff(crop.astype(int), axis=1)).mean()
                for crop in (*found["global"], *found["local"])
            ]
            for found in (still(rng, noise(), (32, 32)) for _ in range(draws))
        ]
    )
    sharp = np.median(rough[:, 1])  # nine of ten second crops are not blurred
    shares = (rough < 0.9 * sharp).mean(axis=0)
    assert shares[0] > 0.75 and shares[1] < 0.4 and 0.35 < shares[2] < 0.65, shares


def test_the_chances_of_blur_and_solarisation_may_be_given():
    """As MSN has them: crops alike, half of them blurred, none solarised."""
    alike = partial(PLAIN, blur_chances=(0.5, 0.5, 0.5), solarise_chance=0.0, local_count=1)
    flat, rng, draws = np.full((48, 48, 3), 200, np.uint8), np.random.default_rng(0), 200
    assert all(alike(rng, flat, (16, 16))["global"].min() > 128 for _ in range(20))
    still = partial(alike, global_scale=(0.25, 0.25), local_scale=(0.14, 0.14))
    rough = np.array(
        [
            [
                np.abs(np.diff(crop.astype(int), axis=1)).mean()
                for crop in still(rng, noise(), (32, 32))["global"]
            ]
            for _ in range(draws)
        ]
    )
    sharp = np.quantile(rough, 0.9)
    shares = (rough < 0.9 * sharp).mean(axis=0)
    assert (shares > 0.3).all() and (shares < 0.6).all(), shares


def test_small_crops_show_less_of_the_picture():
    """The picture is a ramp from left to right: a crop's range is the part that it shows."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (200, 200, 3))
    rng = np.random.default_rng(1)
    found = PLAIN(rng, ramp, (32, 32), local_count=40)
    wide = np.ptp(found["local"].astype(int), axis=(1, 2, 3)) / 200
    assert wide.max() < np.sqrt(0.25 * 4 / 3) + 0.02 and wide.min() > 0.15


@pytest.mark.parametrize(("share", "wanted"), [(1 / 3, 1), (2 / 3, 2), (-1 / 3, 2)])
def test_hues_are_turned(share, wanted):
    red = Image.fromarray(np.tile(np.array([200, 20, 20], np.uint8), (4, 4, 1)))
    colour = np.asarray(rotate_hue(red, share))[0, 0]
    assert colour.argmax() == wanted and colour.max() == 200 and abs(int(colour.min()) - 20) <= 1


def test_jitter_stays_within_its_limits():
    grey = Image.fromarray(np.full((4, 4, 3), 100, np.uint8))
    rng = np.random.default_rng(0)
    seen = [
        np.asarray(jitter_colours(rng, grey, Jitter(0.4, 0.0, 0.0, 0.0))).mean() for _ in range(100)
    ]
    assert 59 <= min(seen) < 70 and 130 < max(seen) <= 141


def test_grey_pictures_are_refused():
    with pytest.raises(DataError, match=r"set input\.channels to 3"):
        multi_crop(np.random.default_rng(0), noise()[..., :1], (32, 32))
    with pytest.raises(DataError, match="3 channels of float32"):
        multi_crop(np.random.default_rng(0), noise().astype(np.float32), (32, 32))


def test_a_pair_has_a_crop_of_each_frame():
    """The first is blurred, the second may be solarised; two frames give a view each."""
    plain = partial(crop_pair, jitter_chances=(0.0, 0.0), grey_chances=(0.0, 0.0))
    frames = np.stack([np.full((40, 40, 3), level, np.uint8) for level in (200, 90)])
    rng, dark = np.random.default_rng(0), 0
    for _ in range(200):
        views = plain(rng, frames, (16, 16))["views"]
        assert views.shape == (2, 16, 16, 3) and (views[0] == 200).all()
        assert (views[1] == 90).all()
        dark += plain(rng, frames[0], (16, 16))["views"][1].mean() < 128
    assert abs(dark / 200 - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 200)
    first, second = plain(rng, noise(), (32, 32), scale=(0.25, 0.25), solarise_chances=(0.0, 0.0))[
        "views"
    ].astype(int)
    assert np.abs(np.diff(first, axis=1)).mean() < 0.9 * np.abs(np.diff(second, axis=1)).mean()
    red = np.tile(np.array([200, 20, 20], np.uint8), (24, 24, 1))
    grey = plain(rng, red, (8, 8), grey_chances=(0.0, 1.0), solarise_chances=(0.0, 0.0))["views"]
    assert np.ptp(grey[0, 0, 0]) == 180 and np.ptp(grey[1, 0, 0]) == 0
    with pytest.raises(DataError, match="two frames, not 3"):
        plain(rng, np.zeros((3, 8, 8, 3), np.uint8), (4, 4))

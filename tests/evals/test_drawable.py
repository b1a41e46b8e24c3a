"""Which streams can be drawn, and the sentence for each that cannot."""

import re

import numpy as np
import pytest

from maskmim import modalities
from maskmim.config import facts
from maskmim.evals.drawable import (
    can_draw_masks,
    check_pictures,
    drawable_streams,
    picture_remarks,
    restorable_streams,
)
from maskmim.modalities import Modality, ModalityError
from tests.evals.pictured import net_of, parts_of, spec_of

PHOTO = spec_of()
BOTH = ("mask", "reconstruct")


def test_a_picture_is_drawn_with_its_masks_and_restored():
    parts = parts_of(PHOTO, apply=BOTH)
    assert list(drawable_streams(parts)) == list(restorable_streams(parts)) == ["image"]
    assert can_draw_masks(parts) and picture_remarks(parts) == []


def pairs(batch):
    """Inputs that are a tree."""
    return (batch["image"], batch["image"])


@pytest.mark.parametrize(
    "changes, kind, why",
    [
        ({"display": None}, modalities.image, "Net.display is None"),
        ({"inputs": pairs}, modalities.image, "no single array"),
        ({}, modalities.unseen, "input.kind has no picture"),
        ({}, modalities.clip, r"draws sizes of 3 axes, this one has 2 \(8 x 8\)"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(changes, kind, why):
    parts = parts_of(PHOTO, net_of(PHOTO, **changes), {"image": kind()}, apply=BOTH)
    assert not drawable_streams(parts) and not can_draw_masks(parts)
    assert bool(restorable_streams(parts)) == (not changes)  # errors need no kind
    (remark,) = picture_remarks(parts)
    assert re.search(f"pictures of 'image' are skipped: .*{why}", remark)


def test_nothing_is_said_of_a_method_that_draws_nothing():
    assert picture_remarks(parts_of(PHOTO, net_of(PHOTO, display=None), apply=())) == []


def test_what_cannot_be_restored_is_drawn_but_not_predicted():
    parts = parts_of(PHOTO, net_of(PHOTO, restore=None), apply=BOTH)
    assert can_draw_masks(parts) and not restorable_streams(parts)


def test_tokens_that_do_not_divide_the_size_are_not_drawn_as_masks():
    parts = parts_of(PHOTO, net_of(PHOTO, grids={"image": (3, 3)}))
    assert drawable_streams(parts) and not can_draw_masks(parts)
    assert picture_remarks(parts) == [
        "masks of 'image' are not drawn: 3 x 3 tokens do not divide 8 x 8 values"
    ]


def test_the_only_grid_may_have_another_name():
    parts = parts_of(PHOTO, net_of(PHOTO, grids={"tokens": (2, 2)}))
    assert drawable_streams(parts)["image"].grid == (2, 2)


def test_of_several_streams_each_is_judged_by_itself():
    depth = spec_of((4, 8), 1, stream="depth")
    text = spec_of((8,), 1, dtype="int32", stream="text")
    spec = PHOTO._replace(streams={"text": text, "depth": depth})
    parts = parts_of(spec)
    found = drawable_streams(parts)
    assert list(found) == ["image", "depth"]
    assert found["depth"].tokens == slice(4, 6) and found["depth"].grid == (1, 2)
    (remark,) = picture_remarks(parts)
    assert "'text' are skipped: input.streams.text.kind draws sizes of 2 axes" in remark
    assert "maskmim.modalities" in remark and "unseen" in remark

    hidden = np.array([[True, False]])
    values = found["depth"].hidden_values(hidden)
    assert values.shape == (1, 4, 8) and values[:, :, :4].all() and not values[:, :, 4:].any()


def test_a_stream_without_tokens_is_said_to_have_none():
    spec = PHOTO._replace(streams={"depth": spec_of((8, 8), 1, stream="depth")})
    parts = parts_of(spec, net_of(PHOTO))
    assert list(drawable_streams(parts)) == ["image"]
    assert picture_remarks(parts) == [
        "pictures of 'depth' are skipped: the network has no tokens of it"
    ]


def test_a_stream_that_the_transform_of_evaluation_lacks_is_not_drawn():
    @facts.augmentation(makes=lambda size, channels: {"crops": (2, *size, channels)})
    def crops(rng, image, size):
        return {"crops": image}

    parts = parts_of(PHOTO)
    parts.evals.transform = crops
    assert picture_remarks(parts) == [
        "pictures of 'image' are skipped: evals.transform makes no array of it"
    ]


@pytest.mark.parametrize(
    "picture, said",
    [
        (lambda arrays, hidden: arrays, r"input.kind: the picture function returned uint8\[1, 8"),
        (lambda arrays: arrays, "input.kind: the picture function fails: TypeError: .*positional"),
    ],
)
def test_a_picture_function_that_fails_is_found_on_a_blank_example(picture, said):
    spec = spec_of((8, 8), 1)
    parts = parts_of(spec, kinds={"image": Modality(picture)})
    with pytest.raises(ModalityError, match=said):
        check_pictures(parts)
    check_pictures(parts_of(spec))

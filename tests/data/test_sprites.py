"""Sprites: the flow leads every pixel to its place in the next frame, to the bit."""

import numpy as np
import pytest

from maskmim.data.clips import centre_clip
from maskmim.data.grocery import grocery
from maskmim.data.pipeline import eval_batches
from maskmim.data.records import DataError, Records
from maskmim.data.sprites import MOTIONS, as_made, sprites
from maskmim.types import Field, Spec

SIZE, FRAMES = (40, 56), 8


def clips_of(count=12, **changes):
    options = {"split": "val", "count": count, "frames": FRAMES, "size": SIZE}
    return sprites(**{**options, **changes})


def test_sprites_are_the_same_at_every_reading():
    records, again = clips_of(), clips_of()
    assert isinstance(records, Records) and len(records) == 12
    assert records.fingerprint == again.fingerprint
    others = {"count": 9}, {"seed": 1}, {"frames": 9}, {"size": (40, 40)}, {"diameter": (0.2, 0.3)}
    assert len({clips_of(**each).fingerprint for each in others} | {records.fingerprint}) == 6
    one, two = records[3], again[3]
    np.testing.assert_array_equal(one.encoded, two.encoded)
    np.testing.assert_array_equal(one.fields["flow"], two.fields["flow"])
    assert one.labels == two.labels
    assert one.encoded.shape == (FRAMES, *SIZE, 3) and one.encoded.dtype == np.uint8
    assert one.fields["flow"].shape == (FRAMES, *SIZE, 2)
    assert one.fields["flow"].dtype == np.float32
    assert one.fields["object"].shape == (FRAMES, *SIZE, 1)
    assert one.fields["object"].dtype == np.uint8
    assert (clips_of(seed=1)[3].encoded != one.encoded).any()
    with pytest.raises(IndexError):
        records[12]


def warped(frame, flow, there, later):
    """Places of a frame whose pixels are visible in the next one, and where: int[n, 2] each.

    A pixel is visible where it stays inside, and where the next frame has the object at its place
    if and only if it is the object's.
    """
    rows, columns = np.indices(frame.shape[:2])
    goal = np.stack([rows + flow[..., 1], columns + flow[..., 0]], -1).astype(int)
    inside = np.all((goal >= 0) & (goal < frame.shape[:2]), axis=-1)
    clipped = np.clip(goal, 0, np.array(frame.shape[:2]) - 1)
    visible = inside & (later[tuple(np.moveaxis(clipped, -1, 0))] == there)
    return np.argwhere(visible), goal[visible]


@pytest.mark.parametrize("index", range(12))
def test_the_flow_leads_each_visible_pixel_to_its_value_in_the_next_frame(index):
    example = clips_of()[index]
    clip, flow = example.encoded, example.fields["flow"]
    there = example.fields["object"][..., 0]
    for frame in range(FRAMES - 1):
        places, goals = warped(clip[frame], flow[frame], there[frame], there[frame + 1])
        before, after = (clip[at][tuple(p.T)] for at, p in ((frame, places), (frame + 1, goals)))
        np.testing.assert_array_equal(before, after)
        assert len(places) > 0.8 * there[0].size
        moved = flow[frame][there[frame] == 1]
        assert len(moved) > 20 and (moved == moved[0]).all()
        assert not flow[frame][there[frame] == 0].any()
        # What is the object's now came along the flow, or from outside of the frame.
        came = np.argwhere(there[frame + 1]) - moved[0][::-1].astype(int)
        inside = np.all((came >= 0) & (came < SIZE), axis=1)
        assert there[frame][tuple(came[inside].T)].all() and inside.mean() > 0.5


def test_the_object_alone_moves():
    example = clips_of()[0]
    there = example.fields["object"][..., 0] == 1
    for frame in range(1, FRAMES):
        still = ~there[0] & ~there[frame]
        np.testing.assert_array_equal(example.encoded[0][still], example.encoded[frame][still])
    assert (example.encoded[0] != example.encoded[-1])[there[0] | there[-1]].mean() > 0.5


def test_labels_are_the_direction_and_the_classes_of_the_object():
    records, photographs = clips_of(count=64), grocery(split="val")
    assert records.labels == {**photographs.labels, "motion": MOTIONS}
    seen = set()
    for index in range(64):
        example = records[index]
        there = example.fields["object"].sum(axis=(1, 2))
        right, down = (example.fields["flow"].sum(axis=(1, 2)) / there).sum(axis=0)
        apart = np.angle(np.exp(1j * (np.arctan2(down, right) - np.deg2rad(45) * np.arange(8))))
        assert np.abs(apart).argmin() == example.labels["motion"]
        seen.add(example.labels["motion"])
    assert seen == set(range(8))
    assert len({records[i].labels["fine"] for i in range(30)}) > 8


@pytest.mark.parametrize(("frames", "size"), [(2, (16, 16)), (30, (65, 33))])
def test_any_length_and_size(frames, size):
    for index in range(6):
        example = clips_of(frames=frames, size=size)[index]
        assert example.encoded.shape == (frames, *size, 3)
        assert example.fields["object"].any(axis=(1, 2, 3)).all()


def test_clips_with_their_maps_reach_the_batch():
    fields = {
        "flow": Field((FRAMES, *SIZE, 2), "float32"),
        "object": Field((FRAMES, *SIZE), "uint8"),
    }
    spec = Spec((FRAMES, *SIZE), 3, (0.5,) * 3, (0.25,) * 3, "video", fields=fields)

    def whole(rng, encoded, channels=3):
        return centre_clip(rng, encoded, channels, frames=FRAMES, stride=1)

    options = {"spec": spec, "batch_size": 4, "decode": whole}
    (batch,) = eval_batches(clips_of(count=3), transform=as_made, **options)
    for index in range(3):
        example = clips_of(count=3)[index]
        np.testing.assert_array_equal(batch["video"][index], example.encoded)
        np.testing.assert_array_equal(batch["flow"][index], example.fields["flow"])
        np.testing.assert_array_equal(batch["object"][index], example.fields["object"][..., 0])
    with pytest.raises(DataError, match="flow has the shape"):
        next(eval_batches(clips_of(frames=9), transform=as_made, **options))


def test_a_clip_alone_is_returned_as_it_is():
    clip = np.zeros((3, 4, 5, 3), np.uint8)
    assert as_made(None, clip, size=(3, 4, 5)) is clip
    with pytest.raises(DataError, match=r"the clip has the shape \(3, 4, 5, 3\)"):
        as_made(None, clip, size=(3, 4, 6))

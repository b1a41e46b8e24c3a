"""Flow that is found in clips: known shifts of real pictures, sprites whose flow is exact."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.resize import resize_to_cover
from maskmim.data.sprites import sprites
from maskmim.teachers import block_matching, lucas_kanade
from maskmim.teachers.given_flow import given_flow
from maskmim.teachers.token_flow import FlowError
from maskmim.types import Context

pytestmark = pytest.mark.full

GRID, SIZE, FRAMES = (4, 8, 8), (64, 64), 8
TEACHERS = {
    "lucas_kanade": lucas_kanade.lucas_kanade(levels=2, radius=4),
    "block_matching": block_matching.block_matching(reach=12, stride=1),
}
EXACT = given_flow()


@cache
def program(find, grid):
    """Return a function from a batch to the flow that a teacher's `find` gives."""

    @jax.jit
    def run(batch):
        return find(None, (), (), Context(batch, {"video": grid}, {}), None)["flow"]

    return run


def found(teacher, batch, grid=GRID):
    """The flow of the tokens of a batch."""
    return np.asarray(program(teacher.find, grid)(batch))


@pytest.fixture(scope="module")
def clips():
    """Sprites as a batch with the flow of their pixels, and how much of each token moves."""
    records = sprites(split="val", count=24, frames=FRAMES, size=SIZE, diameter=(0.4, 0.5))
    examples = [records[index] for index in range(24)]
    batch = {
        "video": np.stack([example.encoded for example in examples]),
        "flow": np.stack([example.fields["flow"] for example in examples]),
    }
    there = np.stack([example.fields["object"] for example in examples])[:, ::2, ..., 0]
    return batch, there.reshape(24, 4, 8, 8, 8, 8).mean((3, 5))


def shifted(by, frames=FRAMES):
    """A photograph that moves by (down, right) pixels from each frame to the next: u8 clip."""
    photograph = decode(grocery(split="val")[0].encoded, channels=3)
    picture = resize_to_cover(photograph, (128, 128)).astype(np.float64)
    moved = []
    for frame in range(frames):
        to = (frame * by[0], frame * by[1], 0)
        moved.append(scipy.ndimage.shift(picture, to, order=3, mode="mirror"))
    clip = np.stack(moved)[:, 32:96, 32:96]
    return np.clip(np.rint(clip), 0, 255).astype(np.uint8)[None]


@pytest.mark.proves(54, "the flow that is found of a photograph is its shift, to parts of a pixel")
@pytest.mark.parametrize("by", [(0.6, -0.35), (-1.7, 2.2)])
def test_lucas_and_kanade_find_a_shift(by):
    flow = 8 * found(TEACHERS["lucas_kanade"], {"video": shifted(by)})
    off = np.linalg.norm(flow[:, :-1] - 2 * np.float32(by), axis=-1)
    inside = off[:, :, 1:-1, 1:-1]
    print(f"median error {np.median(inside):.3f}, nine tenths below {np.quantile(inside, 0.9):.3f}")
    assert np.median(inside) < 0.1 and np.quantile(inside, 0.9) < 0.5
    # The last step ends one frame earlier.
    last = flow[:, -1, 1:-1, 1:-1] - np.float32(by)
    assert np.median(np.linalg.norm(last, axis=-1)) < 0.1


@pytest.mark.proves(30, "blocks are found where they went, to the pixel")
def test_blocks_are_found_where_they_went():
    flow = 8 * found(TEACHERS["block_matching"], {"video": shifted((-1, 2))})
    off = np.abs(flow[:, :-1] - np.float32((-2, 4))).max(-1)
    assert (off[:, :, 1:-1, 1:-1] == 0).mean() > 0.95
    assert not flow[:, -1].any()


@pytest.mark.parametrize("name", TEACHERS)
def test_flow_of_moving_objects_is_near_the_exact_one(name, clips):
    batch, share = clips
    exact = found(EXACT, batch)
    flow = found(TEACHERS[name], {"video": batch["video"]})
    off = np.linalg.norm(flow - exact, axis=-1)[:, :-1]
    moving = share[:, :-1] == 1
    # Still are tokens that the object does not come near.
    still = scipy.ndimage.maximum_filter(share, size=(1, 3, 3, 3))[:, :-1] == 0
    print(name, (off[moving] < 0.5).mean(), (off[still] < 0.1).mean(), moving.sum(), still.sum())
    assert moving.sum() > 50 and (off[moving] < 0.5).mean() > 0.9
    assert (off[still] < 0.1).mean() > 0.99


@pytest.mark.proves(
    30, "in a clip without motion every vector is zero, so that the block is random"
)
@pytest.mark.parametrize("name", TEACHERS)
def test_a_still_clip_has_no_flow(name):
    rng = np.random.default_rng(0)
    still = rng.integers(0, 256, (1, 1, *SIZE, 3), np.uint8).repeat(FRAMES, axis=1)
    blank = np.full_like(still, 9)
    for clip in (still, blank):
        np.testing.assert_array_equal(found(TEACHERS[name], {"video": clip}), 0)


def test_matching_equals_a_search_by_numpy():
    rng = np.random.default_rng(0)
    before, after = rng.random((2, 1, 6, 9)).astype(np.float32)
    by = block_matching.match_blocks(
        jnp.asarray(before), jnp.asarray(after), (3, 3), reach=2, stride=2, price=0.01
    )
    padded = np.pad(after[0], 2, mode="edge")
    for row, column in np.ndindex(2, 3):
        block = before[0, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        errors = {}
        for down in (-2, 0, 2):
            for right in (-2, 0, 2):
                top, left = 3 * row + 2 + down, 3 * column + 2 + right
                error = np.abs(block - padded[top : top + 3, left : left + 3]).mean()
                errors[down, right] = error + 0.01 * np.hypot(down, right)
        assert tuple(np.asarray(by)[0, row, column]) == min(errors, key=errors.get)


def test_equations_are_solved_as_by_numpy():
    rng = np.random.default_rng(0)
    slopes = rng.normal(size=(7, 5, 2))
    matrices = np.einsum("nwi,nwj->nij", slopes, slopes).astype(np.float32)
    values = rng.normal(size=(7, 2)).astype(np.float32)
    solved = np.linalg.solve(matrices, values[..., None])[..., 0]
    ours = lucas_kanade.solve_pairs(jnp.asarray(matrices), jnp.asarray(values))
    np.testing.assert_allclose(ours, solved, rtol=1e-3, atol=1e-4)


def test_clips_that_do_not_fit_are_errors():
    clip = np.zeros((1, *GRID, 3), np.uint8)
    for teacher in TEACHERS.values():
        with pytest.raises(
            FlowError, match=r"of shape \(4, 8, 8, 3\) with the token grid \(3, 8, 8\)"
        ):
            found(teacher, {"video": clip}, (3, 8, 8))
    with pytest.raises(FlowError, match=r"8 x 8 pixels are too small for 2 levels .* need 18"):
        found(TEACHERS["lucas_kanade"], {"video": clip})

"""The Swin encoder: windows, pairs under a scan, sizes that fit and errors where they do not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.masks.core import from_scores
from maskmim.masks.roles import in_place
from maskmim.models import swin
from maskmim.models.layers.compute import compute
from maskmim.models.layers.relative_position import bias_table_index, bias_table_rows, gather_biases
from maskmim.models.layers.swin_blocks import (
    MASKED_SCORE,
    join_windows,
    roll_grid,
    shifted_window_mask,
    split_windows,
    window_shift,
)
from maskmim.models.swin import swin_in_place, swin_variant
from maskmim.models.vit import ModelError
from maskmim.types import Randomness, Spec
from tests.compiling import quick_jit
from tests.tolerances import REORDERED

SPEC = Spec((16, 32), 3, (0.5,) * 3, (0.25,) * 3)
EXAMPLES = 2


def tiny(spec=SPEC, **changes):
    return swin_in_place(spec, **{"variant": "8x2-2x1-2", "window": 2, **changes})


def params_of(net):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.2, x.shape).astype(np.float32), shapes)


def pictures():
    return np.random.default_rng(1).normal(size=(EXAMPLES, *SPEC.size, 3)).astype(np.float32)


def mask_of(net):
    length = np.prod(net.grids["image"])
    scores = jnp.asarray(np.random.default_rng(2).random((EXAMPLES, length), np.float32))
    return in_place(None, None, sampler=lambda *_: from_scores(scores, ratio=0.5))


def test_tokens_are_those_of_the_last_stage():
    net = tiny(heads={"pixels": None, "classes": 5})
    assert (net.grids, net.width) == ({"image": (2, 4)}, 16)
    mask = mask_of(net)

    def run(params):
        encoded = net.encode(params, pictures(), mask)
        return encoded, net.predict(params, encoded, mask)

    encoded, outputs = jax.eval_shape(run, jax.eval_shape(net.init, jax.random.key(0)))
    assert encoded.tokens.shape == (EXAMPLES, 8, 16)
    assert encoded.prefix.shape == (EXAMPLES, 0, 16)
    assert outputs["pixels"].shape == (EXAMPLES, 4, 8 * 8 * 3)
    assert outputs["classes"].shape == (EXAMPLES, 4, 5)


def test_unrolled_and_rematerialised_stages_give_the_same_features():
    size = {"variant": "8x4x1", "patch": (8, 8)}
    params = params_of(tiny(**size))

    def features(**changes):
        net = tiny(**size, **changes)
        return quick_jit(lambda p: net.encode(p, pictures(), mask_of(net)).tokens)(params)

    expected = features()
    changed = features(compute=partial(compute, unroll=True, remat="full"))
    assert float(jnp.abs(changed - expected).max()) <= REORDERED * float(jnp.abs(expected).max())


def test_dropped_paths_are_those_of_their_own_stage(monkeypatch):
    """With the first stage's blocks left out its weights do not matter, others' do."""
    keep = jnp.ones((4, EXAMPLES, 2)).at[:2].set(0.0)
    monkeypatch.setattr(swin, "drop_path_factors", lambda randomness, **_: randomness and keep)
    net = tiny()
    randomness = Randomness.of(jax.random.key(0), EXAMPLES)
    encode = quick_jit(lambda p: net.encode(p, pictures(), None, randomness=randomness).tokens)
    params = params_of(net)
    plain = encode(params)
    for stage, matters in (("stage0_blocks", False), ("stage1_blocks", True)):
        for name in ("plain", "shifted"):
            other = jax.tree.map(np.negative, params["encoder"][stage][name])
            inside = {**params["encoder"][stage], name: other}
            changed = encode({**params, "encoder": {**params["encoder"], stage: inside}})
            assert bool(jnp.any(changed != plain)) == matters, (stage, name)


def test_depth_of_dropped_paths_counts_all_stages(monkeypatch):
    arguments = {}
    monkeypatch.setattr(
        swin, "drop_path_factors", lambda randomness, **keywords: arguments.update(keywords)
    )
    net = tiny(drop_path=0.3)
    randomness = Randomness.of(jax.random.key(0), EXAMPLES)
    jax.eval_shape(
        lambda p: net.encode(p, pictures(), None, randomness=randomness),
        jax.eval_shape(net.init, jax.random.key(0)),
    )
    assert arguments == {"depth": 4, "rate": 0.3}


def test_windows_hold_neighbours_and_come_back():
    grid, side = (4, 6), 2
    x = jnp.arange(24.0).reshape(1, 24, 1)
    windows = split_windows(x, grid, side)
    np.testing.assert_array_equal(windows[0, 1, :, 0], [2, 3, 8, 9])
    np.testing.assert_array_equal(join_windows(windows, grid, side), x)
    np.testing.assert_array_equal(roll_grid(roll_grid(x, grid, -1), grid, 1), x)
    assert float(roll_grid(x, grid, -1)[0, 0, 0]) == 7.0


def test_shifted_windows_see_no_further_than_their_picture():
    """Two tokens of a shifted window may attend where they were neighbours before rolling."""
    grid, side, shift = (6, 9), 3, 1
    places = np.indices(grid).reshape(2, -1).T.astype(np.float32)[None]
    cut = np.asarray(split_windows(roll_grid(jnp.asarray(places), grid, -shift), grid, side))[0]
    near = np.abs(cut[:, :, None] - cut[:, None, :]).max(-1) < side
    np.testing.assert_array_equal(
        shifted_window_mask(grid, side, shift), np.where(near, 0.0, MASKED_SCORE)
    )


def test_no_shift_where_one_window_spans_the_grid():
    assert [window_shift(grid, 7) for grid in ((14, 14), (7, 7), (3, 3), (7, 14))] == [3, 0, 0, 0]


@pytest.mark.parametrize("class_token", [False, True])
def test_biases_depend_on_the_offset_alone(class_token):
    grid = (2, 3)
    rows = bias_table_rows(grid, class_token=class_token)
    index = bias_table_index(grid, class_token=class_token)
    assert sorted(set(index.ravel())) == list(range(rows))
    bias = gather_biases(jnp.arange(rows, dtype=jnp.float32)[:, None], index)[0]
    patches = bias[int(class_token) :, int(class_token) :]
    assert patches[0, 1] == patches[1, 2] == patches[3, 4] != patches[1, 0]
    assert patches[0, 3] == patches[2, 5] != patches[0, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 3}, "windows of 3 do not divide a stage's grid of 4x8"),
        ({"patch": (3, 3)}, "do not divide into patches of 6x6"),
        ({"variant": "X"}, "unknown Swin variant 'X'"),
        ({"variant": "8x2-3x1-2"}, "even number of blocks"),
        ({"variant": "8x2-2x1"}, "and its heads"),
        ({"variant": "8x2-2x1-3"}, "3 heads do not divide the width 16"),
        ({"compute": partial(compute, remat="some")}, "unknown remat policy"),
    ],
)
def test_errors_name_what_does_not_fit(changes, message):
    with pytest.raises(ModelError, match=message):
        tiny(**changes)


def test_blocks_cannot_be_captured():
    net = tiny()
    with pytest.raises(ModelError, match="cannot capture layers: use stages or none"):
        net.encode(params_of(net), pictures(), None, capture=("layers",))


def test_variants():
    assert swin_variant("B") == swin_variant("128x2-2-18-2x4-8-16-32")

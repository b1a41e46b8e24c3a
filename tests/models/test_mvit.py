"""MViTv2 with MaskFeat's head: equals the official model; what hidden cubes conceal."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from maskmim.interop.layout import arrays_of, check_covered, params_of, shapes_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_hidden
from maskmim.masks.roles import in_place
from maskmim.methods.masked import masked
from maskmim.models.mvit import VARIANTS, block_shapes, mvit_in_place, sharding_rules
from maskmim.models.vit import ModelError
from maskmim.objectives.matching import match
from maskmim.targets.hog_clips import hog_cubes
from maskmim.training.sharding import AXES, tree_shardings
from maskmim.types import Randomness, Spec, Variables
from tests.compiling import quick_jit
from tests.golden.mvit import case
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SPEC = Spec((case.FRAMES, case.SIDE, case.SIDE), 3, (0.0,) * 3, (1.0,) * 3, "video", "float32")
NET = mvit_in_place(SPEC, variant=case.VARIANT, heads={"hog": case.VALUES})


@cache
def official_params():
    """Return the case's weights as our params."""
    entries, sizes = case.layout(), shapes_of(NET)
    check_covered(entries, sizes, "the case's layout")
    blank = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, np.float32), jax.eval_shape(NET.init, jax.random.key(0))
    )
    theirs = arrays_of(entries, blank)
    arrays = {name: case.weight(name, array.shape) for name, array in theirs.items()}
    return params_of(entries, sizes, arrays)


def mask_of(units, count):
    """Return the mask that hides units bool[B, *WINDOW], each 2 x 2 tokens; every token enters."""
    tokens = jnp.asarray(units).repeat(2, axis=2).repeat(2, axis=3).reshape(len(units), -1)
    return in_place(None, None, sampler=lambda *_: from_hidden(tokens, count=4 * count))


def clips():
    return case.clips().transpose(0, 2, 3, 4, 1)


@pytest.mark.proves(31, "MViTv2's predictions, HOG of clips, loss and gradients are the official")
def test_equals_the_official_model():
    mask = mask_of(case.masks(), case.HIDDEN)
    targets = []

    def target(view):
        targets.append(hog_cubes(view))
        return targets[-1]

    method = masked(
        SPEC,
        model=lambda spec: NET,
        mask=lambda randomness, context: mask,
        objectives={"hog": partial(match, head="hog", target=target, loss=squared_error)},
        teachers={},
    )

    @quick_jit
    def run(params, batch):
        randomness = Randomness.of(jax.random.key(0), case.EXAMPLES)

        def loss(params):
            losses = method.loss(Variables(params, {}, {}), batch, randomness, 0.0)
            return losses.terms["hog"].value, targets.pop()

        encoded = NET.encode(params, NET.inputs(batch), mask)
        loss_and_gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return NET.predict(params, encoded, mask)["hog"], *loss_and_gradients

    golden = np.load(case.GOLDEN)
    predictions, (loss, labels), gradients = run(official_params(), {"video": clips()})
    close(predictions, golden["predictions"])
    close(labels, golden["labels"])
    close(loss, golden["loss"])
    for name, gradient in arrays_of(case.layout(), gradients).items():
        place = [entry.name for entry in case.layout()].index(name)
        expected = golden["gradients"][place]
        # Keys' biases shift all scores of a query equally: their gradient is rounding error.
        length = max(expected[0], 1e-4)
        error = np.abs(case.sketch(name, gradient) - expected).max() / length
        assert error < PARITY, (name, error)


def close(ours, theirs):
    ours = np.asarray(ours).reshape(theirs.shape)
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() < PARITY, np.abs(ours - theirs).max()


@pytest.mark.proves(31, "hidden cubes of a clip are replaced behind the stem, and nothing else")
def test_hidden_pixels_are_unseen_but_for_the_stem_windows():
    """A hidden cube does not reach tokens above it; those below see its last 3 rows."""

    @quick_jit
    def encode(video, hidden):
        mask = mask_of(hidden, case.WINDOW[0] * 4 * 2)
        return NET.encode(official_params(), NET.inputs({"video": video}), mask).tokens

    below = np.zeros((2, *case.WINDOW), bool)
    below[:, :, 2:] = True
    above = ~below
    noise = np.random.default_rng(0).normal(size=clips().shape).astype(np.float32)
    plain = encode(clips(), below)
    np.testing.assert_array_equal(
        plain, encode(np.concatenate([clips()[:, :, :32], noise[:, :, 32:]], axis=2), below)
    )
    plain = encode(clips(), above)
    inside = np.concatenate([noise[:, :, :29], clips()[:, :, 29:]], axis=2)
    np.testing.assert_array_equal(plain, encode(inside, above))
    assert (
        np.abs(
            plain - encode(np.concatenate([noise[:, :, :32], clips()[:, :, 32:]], axis=2), above)
        ).max()
        > 1e-3
    )
    assert (
        np.abs(
            plain - encode(np.concatenate([clips()[:, :, :32], noise[:, :, 32:]], axis=2), above)
        ).max()
        > 1e-3
    )


def test_the_published_shapes():
    """S: 8 x 14 x 14 tokens of width 768 at the end; keys have 7 x 7 places, 14 x 14 in between."""
    small = block_shapes(VARIANTS["S"], (8, 56, 56))
    assert [shape.width for shape in small] == [96] + 2 * [192] + 11 * [384] + 2 * [768]
    assert [shape.heads for shape in small] == [1] + 2 * [2] + 11 * [4] + 2 * [8]
    assert [shape.grid[1] for shape in small] == 2 * [56] + 2 * [28] + 12 * [14]
    assert [shape.grid[1] // shape.key_stride for shape in small] == [7, 14, 7, 14] + 12 * [7]
    large = block_shapes(VARIANTS["L"], (8, 56, 56))
    assert (large[0].width, large[-1].width, large[-1].heads) == (144, 1152, 16)
    pooled = [shape.grid[1] // shape.key_stride for shape in large if shape.query_stride == 2]
    assert pooled == [14, 14]


def test_impossible_sizes_are_refused():
    with pytest.raises(ModelError, match="unknown MViT variant 'B': use one of nano, S, L"):
        mvit_in_place(SPEC, variant="B")
    with pytest.raises(ModelError, match="multiples"):
        mvit_in_place(SPEC._replace(size=(6, 48, 48)), variant="S")
    with pytest.raises(ModelError, match="do not divide"):
        mvit_in_place(SPEC._replace(size=(5, 64, 64)), variant="S")


def test_nothing_can_be_captured():
    shapes = jax.eval_shape(NET.init, jax.random.key(0))
    inputs = jax.ShapeDtypeStruct((1, *SPEC.shape), jnp.float32)
    with pytest.raises(ModelError, match="cannot capture layers: use none"):
        jax.eval_shape(partial(NET.encode, mask=None, capture=("layers",)), shapes, inputs)


def test_shardings():
    mesh = AbstractMesh((1, 2, 1, 2), AXES)
    tree = jax.eval_shape(NET.init, jax.random.key(0))
    places = tree_shardings(tree, sharding_rules(), mesh)["encoder"]
    scanned, single = places["from2_blocks"], places["block1"]
    qkv = scanned["attention"]["qkv"], single["attention"]["qkv"]
    assert tuple(qkv[0]["kernel"].spec) == (None, "fsdp", None, "tensor", None)
    assert tuple(qkv[1]["kernel"].spec) == ("fsdp", None, "tensor", None)
    assert tuple(single["mlp"]["down"]["kernel"].spec) == ("tensor", "fsdp")

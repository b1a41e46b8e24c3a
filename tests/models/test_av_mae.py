"""AV-MAE's four fusions against scenic's modules, and what reaches what in them."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.interop.layout import nest
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_hidden
from maskmim.models.av_mae import av_mae
from maskmim.models.layers.errors import ModelError
from maskmim.models.meeting_streams import MeetingEncoder
from maskmim.objectives.in_stream import in_stream
from maskmim.objectives.matching import match
from maskmim.targets.pixels import patches
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, View
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.av_mae import case

pytestmark = pytest.mark.full

COUNT = 9  # hidden tokens of both streams
CONTROL = case.Variant("separate_encoders", "separate_decoders", 0, False, "separate")


def net_of(variant, **changes):
    """Return our network with the sizes of the case."""
    keywords = {
        "variant": f"{case.DEPTH}x{case.WIDTH}x{case.HEADS}x{case.HIDDEN}",
        "joint": variant.joint,
        "shared": variant.shared,
        "ratio": case.RATIOS["video"],
        "ratios": {"audio": case.RATIOS["audio"]},
        "decoder": f"{case.DECODER_DEPTH}x{case.WIDTH}x{case.HEADS}x{case.HIDDEN}",
        "decoder_blocks": variant.decoder_blocks,
    }
    return av_mae(case.spec(), patches=case.PATCHES, **{**keywords, **changes})


def large_params(net):
    """Return params of our network that are the case's weights for our own paths."""
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return nest({path: case.weight(path, leaf.shape) for path, leaf in named_leaves(shapes)})


def loss_of(net):
    """Return (params, inputs, scales) -> (loss, outputs).

    The targets are the case's inputs, whatever enters. scales: f32[2] of the streams.
    """
    mask, batch = from_hidden(jnp.asarray(case.hidden()), count=COUNT), case.inputs()

    def total(params, inputs, scales):
        encoded = net.encode(params, inputs, mask)
        outputs = net.predict(params, encoded, mask)
        view = View(net, Context(batch, net.grids, {}), batch, mask, encoded, outputs, {})
        loss = 0.0
        for name, scale in zip(case.SCALES, scales, strict=True):
            of = partial(match, head=name, target=patches, loss=squared_error)
            per_token, weight, _, _ = in_stream(stream=name, of=of).find(view)
            loss += scale * jnp.sum(per_token * weight) / jnp.sum(weight)
        return loss, outputs

    return total


def official(name):
    """Return (our network, the official weights in it, what was recorded, recorded gradients)."""
    golden, variant = np.load(case.GOLDEN), case.VARIANTS[name]
    sizes = [tuple(map(int, each.split("x"))) for each in golden[f"{name}/shapes"]]
    shapes = dict(zip(golden[f"{name}/names"].tolist(), sizes, strict=True))
    weights = {path: case.weight(path, shape) for path, shape in shapes.items()}
    net, params = net_of(variant), nest(case.ours(weights, name))
    expected = jax.eval_shape(net.init, jax.random.key(0))
    assert {path: leaf.shape for path, leaf in named_leaves(expected)} == {
        path: leaf.shape for path, leaf in named_leaves(params)
    }
    gradients = case.ours(case.theirs_of(shapes, golden[f"{name}/gradients"]), name)
    recorded = {key: golden[f"{name}/{key}"] for key in ("loss", *case.STREAMS.values())}
    return net, params, recorded, gradients


@cache
def derived(name):
    """Return what a variant finds, with gradients: of the loss, and of that of the clip alone."""
    net, params, _, _ = official(name)
    run = quick_jit(jax.value_and_grad(loss_of(net), argnums=(0, 1), has_aux=True))
    scales = list(case.SCALES.values()), [1.0, 0.0]
    return [run(params, case.inputs(), np.float32(each)) for each in scales]


def same_as_recorded(loss, outputs, recorded):
    close(loss, recorded["loss"], name="loss")
    for stream, values in outputs.items():
        close(values, recorded[stream], name=stream)


@pytest.mark.proves(87, "predictions, loss and all gradients equal scenic's: early, mid and shared")
@pytest.mark.parametrize("name", ["early", "mid", "shared"])
def test_equals_the_official_modules(name):
    _, _, recorded, expected = official(name)
    ((loss, outputs), (gradients, _)), _ = derived(name)
    same_as_recorded(loss, outputs, recorded)
    found = dict(named_leaves(gradients))
    assert found.keys() == expected.keys()
    for path, values in expected.items():
        close(found[path], values, name=path)
        assert np.any(found[path]), path


@pytest.mark.proves(87, "the sound reaches the clip in joint blocks only: elsewhere exactly 0")
@pytest.mark.parametrize("name", ["early", "mid", "shared"])
def test_the_sound_reaches_the_clip_in_joint_blocks_only(name):
    _, (_, (_, reached)) = derived(name)
    assert np.any(reached["audio"]) == (name != "shared")
    net = net_of(case.VARIANTS[name])
    hidden = case.hidden()[:, : case.LENGTHS["video"]]
    cubes = np.asarray(net.patchify({"video": reached["video"]})["video"])
    assert np.any(cubes, axis=-1)[~hidden].all() and not np.any(cubes[hidden])


@pytest.mark.proves(
    87, "with separate encoders another sound leaves the clip's prediction as it is"
)
@pytest.mark.parametrize("control", [False, True])
def test_separate_encoders(control):
    """Predictions and loss equal scenic's; with separate decoders nothing is shared at all."""
    net, params, recorded, _ = official("separate")
    if control:
        net = net_of(CONTROL)
        params = large_params(net)
    run, scales = quick_jit(loss_of(net)), np.float32(list(case.SCALES.values()))
    inputs = case.inputs()
    loss, outputs = run(params, inputs, scales)
    if not control:
        same_as_recorded(loss, outputs, recorded)
    _, others = run(params, {**inputs, "audio": inputs["audio"][::-1].copy()}, scales)
    np.testing.assert_array_equal(others["video"], outputs["video"])
    assert np.any(others["audio"] != outputs["audio"])


def test_a_mask_of_other_counts_is_refused():
    net = net_of(case.VARIANTS["mid"])
    params, inputs = jax.eval_shape(net.init, jax.random.key(0)), case.inputs()
    hidden = case.hidden()
    hidden[np.arange(case.EXAMPLES), np.argmin(hidden, axis=1)] = True
    mask = from_hidden(jnp.asarray(hidden), count=COUNT + 1)
    with pytest.raises(ModelError, match="2 of video and 3 of audio"):
        jax.eval_shape(net.encode, params, inputs, mask)
    with pytest.raises(ModelError, match="joint=4"):
        net_of(case.VARIANTS["mid"], joint=4)


def test_a_mask_with_tokens_of_another_stream_gives_nan():
    encoder = MeetingEncoder(
        **{field: None for field in ("grid", "epsilon", "dtype", "remat", "unroll", "attend")},
        **{field: None for field in ("size", "embed", "positions", "global_tokens")},
        grids={"video": (2, 2), "audio": (3,)},
    )
    visible = jnp.array([[0, 3, 5], [1, 4, 5]])  # two cubes and a patch; the other way round
    tokens = encoder._check_places(jnp.ones((2, 3, 4)), visible, {"video": 2, "audio": 1})
    assert np.isfinite(tokens[0]).all() and np.isnan(tokens[1]).all()


def test_streams_are_encoded_alone_and_captured_together():
    net = net_of(case.VARIANTS["mid"])
    params, inputs = jax.eval_shape(net.init, jax.random.key(0)), case.inputs()
    encode = partial(net.encode, capture=("layers", "embedded"))
    whole = jax.eval_shape(lambda *given: encode(*given, None), params, inputs)
    assert whole.layers.shape == (case.DEPTH, case.EXAMPLES, 14, case.WIDTH)
    assert whole.embedded.shape == whole.tokens.shape == whole.layers.shape[1:]
    sound = jax.eval_shape(lambda *given: encode(*given, None), params, {"audio": inputs["audio"]})
    assert sound.layers.shape == (case.DEPTH, case.EXAMPLES, 6, case.WIDTH)

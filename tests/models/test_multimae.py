"""MultiMAE against the official model, and what its streams share."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.interop.layout import arrays_of, check_covered, params_of
from maskmim.losses.regression import absolute_error, squared_error
from maskmim.masks.core import from_hidden
from maskmim.models.multimae import multimae
from maskmim.objectives.class_maps import classify_map
from maskmim.objectives.in_stream import in_stream
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches, patches
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mean, View
from tests.comparing import close
from tests.golden.multimae import case

pytestmark = pytest.mark.full

OBJECTIVES = {
    "rgb": partial(match, head="rgb", target=patches, loss=squared_error),
    "norm_rgb": partial(match, head="norm_rgb", target=normalised_patches, loss=squared_error),
    "depth": partial(match, head="depth", target=patches, loss=absolute_error),
    "semseg": partial(classify_map, head="semseg"),
}


def official_net(**changes):
    """Return our network with the sizes of the case."""
    depth, width, heads = case.ENCODER
    keywords = {
        "heads": {head: case.STREAMS[task] for head, task in case.HEADS.items()},
        "variant": f"{depth}x{width}x{heads}",
        "patch": (case.PATCH, case.PATCH),
        "class_width": case.CLASS_WIDTH,
        "standardised": ("depth",),
        "decoder_depth": case.DECODER[0],
        "decoder_width": case.DECODER[1],
        "decoder_heads": case.DECODER[2],
    }
    return multimae(case.spec(), **{**keywords, **changes})


@cache
def official_params():
    """Return (network, params with the official weights, {official name: shape})."""
    net = official_net()
    ours = jax.eval_shape(net.init, jax.random.key(0))
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape), ours)
    halves = {name: a.shape for name, a in arrays_of(case.layout(), blank).items()}
    names = {name: (name, shape) for name, shape in halves.items()}
    for name in [name for name in halves if ".decoder.k." in name]:
        rows, *rest = halves[name]
        names[name] = name.replace(".k.", ".kv."), (2 * rows, *rest)
        del names[name.replace(".k.", ".v.")]
    weights = case.halves({name: case.weight(name, shape) for name, shape in names.values()})
    shapes = {path: leaf.shape for path, leaf in named_leaves(ours)}
    check_covered(case.layout(), shapes, "the official layout")
    return net, params_of(case.layout(), shapes, weights), halves


def mask_of(net):
    """Return the case's mask, in the order of our streams."""
    by_stream = {case.STREAMS[name]: mask for name, mask in case.hidden().items()}
    hidden = jnp.asarray(np.concatenate([by_stream[name] for name in net.grids], axis=1))
    return from_hidden(hidden, count=hidden.shape[1] - case.SEEN)


@cache
def official_run():
    """Return (loss by head, predictions, gradients of the sum) of our network."""
    net, params, _ = official_params()
    batch, mask = case.inputs(), mask_of(net)

    def total(params):
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        outputs = net.predict(params, encoded, mask)
        view = View(net, Context(batch, net.grids, {}), inputs, mask, encoded, outputs, {})
        losses = {}
        for head, of in OBJECTIVES.items():
            stream = case.STREAMS[case.HEADS[head]]
            objective = in_stream(stream=stream, of=of, per_example=True)
            per_token, weight, _, _ = objective.find(view)
            losses[head] = Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value
        return sum(losses.values()), (losses, outputs, inputs["depth"])

    (_, found), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    return *found, gradients


def as_tokens(values, stream):
    """Cut the official predictions [B, H, W, C] of a stream into ours, [B, N_s, V]."""
    side = values.shape[1] // (case.IMAGE // case.PATCH)
    rows = values.reshape(len(values), -1, side, values.shape[2] // side, side, values.shape[-1])
    return rows.transpose(0, 1, 3, 2, 4, 5).reshape(len(values), rows.shape[1] ** 2, -1)


@pytest.mark.proves(60, "predictions, losses and all gradients equal the official model's")
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    losses, outputs, depth, gradients = official_run()
    close(depth, golden["depth"], name="depth")
    for head, task in case.HEADS.items():
        close(losses[head], golden[f"loss_{head}"], name=head)
        close(outputs[head], as_tokens(golden[f"prediction_{head}"], task), name=head)
    _, _, shapes = official_params()
    ends = np.cumsum([np.prod(shape) for shape in shapes.values()])
    ours = arrays_of(case.layout(), gradients)
    for (name, shape), expected in zip(
        shapes.items(), np.split(golden["gradients"], ends[:-1]), strict=True
    ):
        if name.endswith("decoder.k.bias"):  # softmax does not depend on it
            assert np.abs(ours[name]).max() < 1e-5 > np.abs(expected).max()
            continue
        close(ours[name], expected.reshape(shape), name=name)
        assert np.any(ours[name]), name

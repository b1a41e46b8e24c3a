"""ConvNeXt V2 reads visible cells only; with all cells visible it is the plain network."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jax.sharding import AbstractMesh
from transformers import ConvNextV2Config, ConvNextV2Model

from maskmim.config.load import load
from maskmim.evals.features import pool_mean
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores, split_counts
from maskmim.masks.uniform import random
from maskmim.methods.masked import masked
from maskmim.models.convnext import GlobalResponseNorm, convnext_variant, rules, visible_map
from maskmim.models.fcmae import convnext_fcmae
from maskmim.models.layers.compute import compute
from maskmim.models.vit import ModelError
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches
from maskmim.training.sharding import AXES, tree_shardings
from maskmim.training.train_step import make_train_step
from maskmim.tree_paths import leaf_path, named_leaves
from maskmim.types import Randomness, Spec
from tests.models import sparse_convnext
from tests.running import ROOT
from tests.tiny import begin, pictures
from tests.tolerances import PARITY, REORDERED

pytestmark = pytest.mark.full

SPEC = Spec((32, 24), 3, (0.5,) * 3, (0.25,) * 3)  # 4 x 3 tokens of 8 x 8 pixels
GRID = (4, 3)
EXAMPLES = 2


def tiny(spec=SPEC, **changes):
    keywords = {"variant": "8x2-1-1", "patch": (2, 2), "decoder_width": 16}
    return convnext_fcmae(spec, **{**keywords, **changes})


def params_of(net):
    """Return params none of which is 0 or 1, so that every part has an effect."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0))

    def draw(path, leaf):
        middle = 1.0 if leaf_path(path).endswith("norm/scale") else 0.0
        return rng.normal(middle, 0.3, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(draw, shapes)


def inputs_of(seed=1):
    return np.random.default_rng(seed).normal(size=(EXAMPLES, *SPEC.size, 3)).astype(np.float32)


def mask_of(ratio=0.6):
    scores = np.random.default_rng(2).random((EXAMPLES, 12), np.float32)
    return from_scores(jnp.asarray(scores), ratio=ratio)


def close(ours, theirs, tolerance):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()


@pytest.fixture(scope="module")
def masked_encoder():
    """Return (net, params, mask, jitted encoder of inputs under that mask)."""
    net, mask = tiny(), mask_of()
    params = params_of(net)
    return net, params, mask, jax.jit(lambda inputs: net.encode(params, inputs, mask).tokens)


@pytest.mark.proves(32, "hidden pixels change no feature of a visible cell, at any resolution")
def test_hidden_pixels_change_no_visible_feature(masked_encoder):
    net, _, mask, encode = masked_encoder
    values = net.patchify(inputs_of())
    hidden = np.asarray(mask.hidden)[..., None]
    first = encode(net.restore(values))
    changed = encode(net.restore(jnp.where(hidden, 3 - 2 * values, values)))
    np.testing.assert_array_equal(first, changed)
    seen = encode(net.restore(jnp.where(hidden, values, 3 - 2 * values)))
    assert np.abs(np.asarray(seen - first)).max() > 0.1 * np.abs(np.asarray(first)).max()


@pytest.mark.proves(32, "masked dense convolution equals convolution of the visible cells alone")
def test_masked_convolution_is_sparse_convolution(masked_encoder):
    _, params, mask, encode = masked_encoder
    features = encode(inputs_of())
    double = jax.tree.map(lambda x: x.astype(np.float64), params["encoder"])
    for example in range(EXAMPLES):
        seen = ~np.asarray(mask.hidden[example]).reshape(GRID)
        picture = inputs_of()[example].astype(np.float64)
        close(features[example], sparse_convnext.encode(double, picture, seen, 2), PARITY)


@pytest.mark.proves(32, "with every token visible the masked encoder is the plain ConvNeXt V2")
def test_all_visible_equals_no_mask():
    net = tiny(variant="8x1-2", patch=(4, 4))
    params, inputs = params_of(net), inputs_of()
    all_visible = mask_of()._replace(
        visible=jnp.tile(jnp.arange(12), (EXAMPLES, 1)), hidden=jnp.zeros((EXAMPLES, 12), bool)
    )
    encode = jax.jit(lambda mask: net.encode(params, inputs, mask))
    dense = encode(None)
    assert dense.tokens.shape == (EXAMPLES, 12, 16)
    assert dense.prefix.shape == (EXAMPLES, 0, 16)
    assert pool_mean(dense).shape == (EXAMPLES, net.width)
    close(encode(all_visible).tokens, dense.tokens, REORDERED)


def peer(size):
    torch.manual_seed(0)
    model = ConvNextV2Model(
        ConvNextV2Config(
            patch_size=4,
            num_stages=len(size.depths),
            hidden_sizes=[size.width << stage for stage in range(len(size.depths))],
            depths=list(size.depths),
        )
    ).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            offset = 1.0 if "layernorm.weight" in name or "downsampling_layer.0" in name else 0.0
            value.copy_(offset + 0.3 * torch.randn_like(value))
    return model


def from_peer(state, depths):
    """Return our encoder's parameters from those of transformers' ConvNextV2Model."""

    def layer(name):
        weight, bias = (state[f"{name}.{kind}"].numpy() for kind in ("weight", "bias"))
        return weight, bias

    def conv(name):
        weight, bias = layer(name)
        return {"kernel": weight.transpose(2, 3, 1, 0), "bias": bias}

    def dense(name):
        weight, bias = layer(name)
        return {"kernel": weight.T, "bias": bias}

    def norm(name):
        weight, bias = layer(name)
        return {"norm": {"scale": weight, "bias": bias}}

    def grn(name):
        weight, bias = layer(name)
        return {"gamma": weight.reshape(-1), "beta": bias.reshape(-1)}

    def block(name):
        mlp = {"up": dense(f"{name}.pwconv1"), "down": dense(f"{name}.pwconv2")}
        mlp["grn"] = grn(f"{name}.grn")
        return {"depthwise": conv(f"{name}.dwconv"), "norm": norm(f"{name}.layernorm"), "mlp": mlp}

    first = {"stem": conv("embeddings.patch_embeddings"), "stem_norm": norm("embeddings.layernorm")}
    for stage, depth in enumerate(depths):
        at = f"encoder.stages.{stage}"
        if stage:
            first[f"down{stage}_norm"] = norm(f"{at}.downsampling_layer.0")
            first[f"down{stage}"] = conv(f"{at}.downsampling_layer.1")
        blocks = [block(f"{at}.layers.{place}") for place in range(depth)]
        first[f"stage{stage}_blocks"] = jax.tree.map(lambda *each: np.stack(each), *blocks)
    return {"encoder": first}


@pytest.mark.proves(32, "features without a mask and their gradient equal transformers' ConvNextV2")
def test_equals_transformers():
    size = convnext_variant("8x1-2")
    model = peer(size)
    net = tiny(Spec((24, 32), 3, (0.5,) * 3, (0.25,) * 3), variant="8x1-2", patch=(4, 4))
    params = from_peer(model.state_dict(), size.depths)
    pixels = np.random.default_rng(1).normal(size=(EXAMPLES, 3, 24, 32)).astype(np.float32)
    theirs_in = torch.from_numpy(pixels).requires_grad_()
    theirs = model(theirs_in).last_hidden_state
    theirs.square().mean().backward()

    def loss(inputs):
        tokens = net.encode(params, inputs, None).tokens
        return jnp.mean(tokens**2), tokens

    (_, tokens), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        pixels.transpose(0, 2, 3, 1)
    )
    close(tokens, theirs.detach().flatten(2).transpose(1, 2), PARITY)
    close(gradient, theirs_in.grad.permute(0, 2, 3, 1), PARITY)


def test_grn_is_its_formula_on_the_visible_cells():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, 4, 3, 5)).astype(np.float32)
    gamma, beta = rng.normal(size=(2, 5)).astype(np.float32)
    seen = np.asarray(visible_map(mask_of().visible, GRID, 1))
    params = {"params": {"gamma": gamma, "beta": beta}}
    ours = GlobalResponseNorm(jnp.float32).apply(params, x, seen)
    for example in range(EXAMPLES):
        cells = x[example][seen[example, ..., 0] > 0]
        lengths = np.sqrt((cells**2).sum(axis=0))
        share = lengths / (lengths.mean() + 1e-6)
        close(ours[example], gamma * x[example] * share + beta + x[example], REORDERED)


def test_grn_of_a_silent_channel_has_a_finite_gradient():
    grn = GlobalResponseNorm(jnp.float32)
    params = {"params": {"gamma": jnp.ones(5), "beta": jnp.ones(5)}}
    gradient = jax.grad(lambda x: jnp.sum(grn.apply(params, x, None)))(jnp.zeros((1, 2, 2, 5)))
    assert np.isfinite(gradient).all()


def test_the_map_of_visible_cells_is_drawn_larger_for_finer_stages():
    seen = visible_map(jnp.array([[1, 5]]), (2, 3), 2)[0, ..., 0]
    expected = [[0, 0, 1, 1, 0, 0]] * 2 + [[0, 0, 0, 0, 1, 1]] * 2
    np.testing.assert_array_equal(seen, expected)


def tiny_method():
    return masked(
        SPEC,
        model=partial(tiny, variant="8x1", patch=(8, 8)),
        mask=partial(random, ratio=0.6),
        objectives={
            "pixels": partial(match, head="pixels", target=normalised_patches, loss=squared_error)
        },
        teachers={},
    )


@pytest.mark.slow
def test_a_few_steps_reduce_the_loss_and_reach_every_parameter():
    method, optimiser = tiny_method(), optax.adam(1e-2)
    state, frozen = begin(method, optimiser)
    begun = state.params
    step = jax.jit(make_train_step(method, optimiser, seed=0, total_steps=30))
    values = []
    for _ in range(30):
        state, metrics = step(state, frozen, {"image": pictures(8)})
        values.append(float(metrics["loss"]))
    assert np.mean(values[-5:]) < 0.9 * values[0], values
    for (path, old), new in zip(named_leaves(begun), jax.tree.leaves(state.params), strict=True):
        assert not np.array_equal(old, new), path


def test_hidden_tokens_are_predicted():
    method = tiny_method()
    batch = {"image": jax.ShapeDtypeStruct((2, *SPEC.size, 3), jnp.uint8)}

    def reconstruct(batch):
        variables = method.variables(jax.random.key(0))
        return method.apply["reconstruct"](variables, batch, Randomness.of(jax.random.key(0), 2))

    reconstruction = jax.eval_shape(reconstruct, batch)
    assert reconstruction["prediction"].shape == (2, 7, 8 * 8 * 3)
    assert reconstruction["mask"].visible.shape == (2, 5)


def test_unrolled_and_rematerialised_stages_give_the_same_features():
    inputs, mask = inputs_of(), mask_of()
    params = params_of(tiny(variant="8x2", patch=(8, 8)))
    plain, other = (
        tiny(variant="8x2", patch=(8, 8), **how).encode(params, inputs, mask).tokens
        for how in ({}, {"compute": partial(compute, unroll=True, remat="full")})
    )
    close(other, plain, REORDERED)


def test_the_published_model_and_mask(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load("configs/convnext_v2.py:variant=A")
    assert (config.train.batch_size, config.optim.lr, config.optim.lr_per) == (4096, 1.5e-4, 256)
    assert (config.train.epochs, config.schedule.warmup_epochs) == (1600, 40)
    assert split_counts(49, config.mask.ratio) == (19, 30)
    spec = Spec((224, 224), 3, (0.5,) * 3, (0.25,) * 3)
    net = convnext_fcmae(spec, variant="A")
    assert (net.grids, net.width) == ({"image": (7, 7)}, 320)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    encoder = sum(leaf.size for leaf in jax.tree.leaves(shapes["encoder"]))
    # 3.7M with the classifier of 1000 classes and the norm before it (README).
    assert round((encoder + 320 * 1002 + 1000) / 1e6, 1) == 3.7
    places = dict(named_leaves(tree_shardings(shapes, rules(), AbstractMesh((2, 4, 1, 2), AXES))))
    assert places["encoder/stage0_blocks/depthwise/kernel"].spec[4] == "fsdp"
    assert places["encoder/stage0_blocks/mlp/grn/gamma"].spec[1] == "tensor"


@pytest.mark.parametrize("name", ["X", "96", "96x3-", "0x1", "96x3-0"])
def test_an_unknown_variant_is_refused(name):
    with pytest.raises(ModelError, match="unknown ConvNeXt V2 variant"):
        convnext_variant(name)


def test_pictures_that_do_not_divide_and_captures_are_refused():
    with pytest.raises(ModelError, match="do not divide"):
        tiny(Spec((30, 24), 3, (0.5,) * 3, (0.25,) * 3))
    net = tiny()
    with pytest.raises(ModelError, match="cannot capture layers: use stages or none"):
        net.encode(params_of(net), inputs_of(), None, capture=("layers",))

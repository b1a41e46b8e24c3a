"""The masked ViT: shapes, equivalent ways to compute it, and errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.masks.core import from_scores
from maskmim.models.layers.compute import compute
from maskmim.models.layers.posembed import sincos
from maskmim.models.masked_vit import vit_mae
from maskmim.models.vit import VARIANTS, ModelError, Size, variant
from maskmim.tree_paths import named_leaves
from maskmim.types import Mask, Spec
from tests.tolerances import REORDERED

SPEC = Spec((24, 40), 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
EXAMPLES = 2


def tiny(spec=SPEC, **changes):
    keywords = {"variant": "2x32x2x48", "patch": (8, 8), "decoder_depth": 1, "decoder_width": 16}
    return vit_mae(spec, **{**keywords, "decoder_heads": 2, **changes})


def random_mask(net, ratio=0.6, seed=0):
    grid = net.grids["image"]
    scores = jax.random.uniform(jax.random.key(seed), (EXAMPLES, grid[0] * grid[1]))
    return from_scores(scores, ratio=ratio)


def pictures(spec=SPEC, seed=0):
    shape = (EXAMPLES, *spec.size, spec.channels)
    return {"image": np.random.default_rng(seed).integers(0, 256, shape, np.uint8)}


def params_of(net, seed=0):
    """Return random params, also of biases and norms."""
    shapes = jax.eval_shape(net.init, jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(0, 0.15, x.shape).astype(np.float32), shapes)


def run(net, params, batch, mask, capture=()):
    """Return Encoded and outputs; without a mask, Encoded and None."""

    @jax.jit
    def forward(params, batch, mask):
        encoded = net.encode(params, net.inputs(batch), mask, capture=capture)
        return encoded, net.predict(params, encoded, mask) if mask else None

    return forward(params, batch, mask)


def loss_of(net, batch, mask):
    def loss(params):
        encoded = net.encode(params, net.inputs(batch), mask)
        outputs = net.predict(params, encoded, mask)
        return jnp.sum(outputs["pixels"] ** 2), (encoded, outputs)

    return loss


def gradients(net, params, batch, mask):
    return jax.jit(jax.grad(loss_of(net, batch, mask), has_aux=True))(params)[0]


def assert_close(ours, theirs, tolerance):
    """Compare relative to the largest value of each tensor."""
    theirs = dict(named_leaves(theirs))
    for path, leaf in named_leaves(ours):
        scale = max(float(jnp.abs(theirs[path]).max()), 1e-6)
        assert float(jnp.abs(leaf - theirs[path]).max()) <= tolerance * scale, path


@pytest.mark.parametrize(
    ("spec", "changes", "grid", "values"),
    [
        (Spec((24, 40), 3, (0.5,), (0.5,)), {}, (3, 5), 192),
        (Spec((30, 14), 1, (0.5,), (0.5,)), {"patch": (6, 7)}, (5, 2), 42),
        (Spec((8, 64), 5, (0.5,), (0.5,)), {"patch": (4, 16), "registers": 3}, (2, 4), 320),
        (Spec((24, 24), 2, (0.5,), (0.5,)), {"class_token": False, "registers": 1}, (3, 3), 128),
        (Spec((24, 24), 2, (0.5,), (0.5,)), {"class_token": False}, (3, 3), 128),
    ],
)
def test_shapes(spec, changes, grid, values):
    net = tiny(spec, heads={"pixels": None, "classes": 7}, **changes)
    assert net.grids == {"image": grid}
    mask = random_mask(net)
    encoded, outputs = jax.eval_shape(lambda p: run(net, p, pictures(spec), mask), params_of(net))
    prefix = changes.get("class_token", True) + changes.get("registers", 0)
    assert encoded.prefix.shape == (EXAMPLES, prefix, 32)
    assert encoded.tokens.shape == (EXAMPLES, mask.visible.shape[1], 32)
    predicted = mask.predict.shape[1]
    assert outputs["pixels"].shape == (EXAMPLES, predicted, values)
    assert outputs["classes"].shape == (EXAMPLES, predicted, 7)
    assert encoded.layers is None
    assert encoded.attention is None


def test_inputs_display_and_patches_invert_each_other():
    net = tiny()
    batch = pictures()
    inputs = net.inputs(batch)
    expected = (batch["image"] / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    np.testing.assert_allclose(inputs, expected, atol=1e-5)
    floats = net.inputs({"image": batch["image"].astype(np.float32) / 255})
    np.testing.assert_allclose(floats, inputs, atol=1e-6)
    np.testing.assert_array_equal(net.display(inputs), batch["image"])
    patches = net.patchify(inputs)
    # token 1 * 5 + 2 is row 1, column 2; value (r * 8 + c) * 3 + channel
    assert patches[0, 7, (3 * 8 + 4) * 3 + 1] == inputs[0, 8 + 3, 16 + 4, 1]
    np.testing.assert_array_equal(net.restore(patches), inputs)


def test_no_mask_is_all_tokens_visible():
    net = tiny(mask_token=True)
    params = params_of(net)
    batch = pictures()
    tokens = jnp.tile(jnp.arange(15, dtype=jnp.int32), (EXAMPLES, 1))
    mask = Mask(tokens, tokens, jnp.zeros((EXAMPLES, 15), bool), jnp.ones((EXAMPLES, 15)))
    without, _ = run(net, params, batch, None)
    with_mask, _ = run(net, params, batch, mask)
    assert_close(without._asdict(), with_mask._asdict(), REORDERED)


@pytest.mark.proves(3, "what is hidden never reaches the encoder, and never changes a prediction")
def test_hidden_pixels_change_nothing_and_visible_ones_do():
    net = tiny()
    params = params_of(net)
    mask = random_mask(net)
    batch = pictures()
    patches = net.patchify(batch["image"])
    other = net.patchify(pictures(seed=1)["image"])
    hidden_changed = net.restore(jnp.where(mask.hidden[..., None], other, patches))
    visible_changed = net.restore(jnp.where(mask.hidden[..., None], patches, other))
    _, outputs = run(net, params, batch, mask)
    _, same = run(net, params, {"image": hidden_changed}, mask)
    _, changed = run(net, params, {"image": visible_changed}, mask)
    np.testing.assert_array_equal(outputs["pixels"], same["pixels"])
    assert not np.allclose(outputs["pixels"], changed["pixels"], rtol=1e-3)


def test_visible_hidden_tokens_carry_the_mask_embedding():
    """As in SimMIM and BEiT: every token enters, without the content of the hidden ones."""
    net = tiny(mask_token=True)
    params = params_of(net)
    batch = pictures()
    disjoint = random_mask(net)
    tokens = jnp.tile(jnp.arange(15, dtype=jnp.int32), (EXAMPLES, 1))
    mask = disjoint._replace(visible=tokens)
    other = net.patchify(pictures(seed=1)["image"])
    swapped = jnp.where(mask.hidden[..., None], other, net.patchify(batch["image"]))
    first, _ = run(net, params, batch, mask)
    second, _ = run(net, params, {"image": net.restore(swapped)}, mask)
    np.testing.assert_array_equal(first.tokens, second.tokens)
    params["encoder"]["mask_token"] *= -1.0
    third, _ = run(net, params, batch, mask)
    assert not np.allclose(first.tokens, third.tokens, rtol=1e-3)


def test_unrolled_blocks_and_remat_policies_give_the_same_gradients():
    batch = pictures()
    net = tiny()
    params = params_of(net)
    mask = random_mask(net)
    expected = gradients(net, params, batch, mask)
    assert all(float(jnp.abs(leaf).max()) > 0 for _, leaf in named_leaves(expected))
    for changes in ({"unroll": True, "remat": "dots"}, {"remat": "full"}):
        net = tiny(compute=partial(compute, **changes))
        changed = gradients(net, params, batch, mask)
        assert_close(changed, expected, REORDERED)


def test_remat_recomputes():
    """The policy reaches the compiler: it decides how often the backward pass multiplies."""
    batch = pictures()
    params = params_of(tiny())
    mask = random_mask(tiny())

    def products(remat):
        net = tiny(compute=partial(compute, remat=remat))
        traced = jax.make_jaxpr(jax.grad(loss_of(net, batch, mask), has_aux=True))(params)
        return str(traced).count("dot_general")

    assert products("full") > products("none")
    assert products("dots") == products("none")


def test_captures():
    net = tiny(registers=1)
    params = params_of(net)
    mask = random_mask(net)
    plain, _ = run(net, params, pictures(), mask)
    captured, _ = run(net, params, pictures(), mask, capture=("layers", "attention"))
    length = 2 + mask.visible.shape[1]
    assert captured.layers.shape == (2, EXAMPLES, length, 32)
    assert captured.attention.shape == (2, EXAMPLES, 2, length)
    np.testing.assert_allclose(captured.attention.sum(axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(captured.tokens, plain.tokens, rtol=1e-5, atol=1e-5)
    # The encoder returns the last norm of the last layer.
    last = np.asarray(captured.layers[-1], np.float64)
    norm = params["encoder"]["norm"]["norm"]
    normal = (last - last.mean(-1, keepdims=True)) / np.sqrt(last.var(-1, keepdims=True) + 1e-6)
    normed = normal * np.asarray(norm["scale"]) + np.asarray(norm["bias"])
    np.testing.assert_allclose(normed[:, 2:], captured.tokens, rtol=1e-4, atol=1e-4)
    with pytest.raises(ModelError, match="cannot capture layer: use embedded, layers, attention"):
        net.encode(params, net.inputs(pictures()), mask, capture=("layer",))
    bare = tiny(class_token=False)
    with pytest.raises(ModelError, match="class token"):
        bare.encode(params_of(bare), net.inputs(pictures()), mask, capture=("attention",))


def test_captured_attention_is_that_of_the_class_token():
    """Computed by hand for the first block."""
    net = tiny()
    params = params_of(net)
    mask = random_mask(net)
    captured, _ = run(net, params, pictures(), mask, capture=("attention",))
    encoder = jax.tree.map(lambda x: np.asarray(x, np.float64), params["encoder"])
    patches = np.asarray(net.patchify(net.inputs(pictures())), np.float64)
    tokens = patches @ encoder["embed"]["kernel"] + encoder["embed"]["bias"] + sincos(32, (3, 5))
    tokens = np.take_along_axis(tokens, np.asarray(mask.visible)[..., None], axis=1)
    prefix = np.broadcast_to(encoder["class_token"], (EXAMPLES, 1, 32))
    x = np.concatenate([prefix, tokens], axis=1)
    block = jax.tree.map(lambda leaf: leaf[0], encoder["stack"]["blocks"])
    norm = block["norm1"]["norm"]
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    y = y * norm["scale"] + norm["bias"]
    qkv = np.einsum("bnd,dchs->cbhns", y, block["attention"]["qkv"]["kernel"])
    qkv += block["attention"]["qkv"]["bias"][:, None, :, None]
    scores = np.einsum("bhs,bhns->bhn", qkv[0][:, :, 0], qkv[1]) / np.sqrt(16)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(captured.attention[0], weights, rtol=1e-4, atol=1e-6)


def test_bfloat16_computes_near_float32_with_float32_parameters():
    exact, coarse = tiny(), tiny(compute=partial(compute, dtype="bfloat16"))
    params = params_of(exact)
    mask = random_mask(exact)
    shapes = jax.eval_shape(coarse.init, jax.random.key(0))
    assert all(leaf.dtype == jnp.float32 for _, leaf in named_leaves(shapes))
    _, expected = run(exact, params, pictures(), mask)
    gradient = jax.jit(jax.grad(loss_of(coarse, pictures(), mask), has_aux=True))
    grads, (encoded, outputs) = gradient(params)
    assert encoded.tokens.dtype == jnp.bfloat16
    assert outputs["pixels"].dtype == jnp.float32
    error = jnp.abs(outputs["pixels"] - expected["pixels"]).max()
    assert 0 < error < 0.1 * jnp.abs(expected["pixels"]).max()
    assert all(bool(jnp.isfinite(leaf).all()) for _, leaf in named_leaves(grads))


@pytest.mark.proves(3, "initialisation: Xavier uniform linears, tokens N(0, 0.02), zero biases")
def test_initialisation():
    net = vit_mae(SPEC, variant="2x256x4", patch=(8, 8), decoder_depth=1, decoder_width=128)
    encoder = jax.jit(net.init)(jax.random.key(0))["encoder"]

    def is_xavier(kernel, fan_in, fan_out):
        bound = np.sqrt(6 / (fan_in + fan_out))
        assert 0.98 * bound < np.abs(kernel).max() <= bound
        assert abs(np.std(kernel) * np.sqrt(3) / bound - 1) < 0.02

    is_xavier(encoder["embed"]["kernel"], 192, 256)
    blocks = encoder["stack"]["blocks"]
    is_xavier(blocks["attention"]["qkv"]["kernel"], 256, 3 * 256)
    is_xavier(blocks["attention"]["out"]["kernel"], 256, 256)
    is_xavier(blocks["mlp"]["up"]["kernel"], 256, 1024)
    is_xavier(blocks["mlp"]["down"]["kernel"], 1024, 256)
    assert not np.array_equal(*blocks["mlp"]["up"]["kernel"])
    assert abs(np.std(encoder["class_token"]) / 0.02 - 1) < 0.2
    assert not np.any(blocks["attention"]["qkv"]["bias"])


def test_parameter_counts_are_those_of_timm():
    """timm 1.0 without a head and without its table of positions, not a parameter here."""
    spec = Spec((224, 224), 3, (0.5,), (0.5,))
    for name, patch, timm in [
        ("B", 16, 85_798_656 - 197 * 768),
        ("L", 16, 303_301_632 - 197 * 1024),
        ("H", 14, 630_764_800 - 257 * 1280),
    ]:
        shapes = jax.eval_shape(
            vit_mae(spec, variant=name, patch=(patch, patch)).init, jax.random.key(0)
        )
        count = sum(leaf.size for _, leaf in named_leaves(shapes["encoder"]))
        assert count == timm, name


def test_variants():
    assert variant("g") == Size(40, 1408, 16, 6144)
    assert variant("12x768x12") == VARIANTS["B"]
    assert variant("2x32x2x100") == Size(2, 32, 2, 100)
    for name in ("Q", "12x768", "0x32x2", "b"):
        with pytest.raises(ValueError, match="nano, micro, mini, Ti, S, B, L, H, g"):
            variant(name)
    with pytest.raises(ValueError, match="3 heads do not divide the width 32"):
        variant("2x32x3")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch": (7, 8)}, "size 24x40 do not divide into patches of 7x8"),
        ({"positions": "rope"}, "unknown positions 'rope'"),
        ({"compute": partial(compute, remat="most")}, "policy 'most': use one of none, full"),
        ({"decoder_heads": 3}, "3 heads do not divide the width 16"),
    ],
)
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        tiny(**changes)


def test_pictures_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(24, 40, 1\) meet a model for \(24, 40, 3\)"):
        tiny().inputs({"image": np.zeros((2, 24, 40, 1), np.uint8)})


def test_learned_positions_receive_gradients():
    net = tiny(positions="learned")
    params = params_of(net)
    mask = random_mask(net)
    gradient = gradients(net, params, pictures(), mask)["encoder"]["positions"]
    visible = np.zeros(15, bool)
    visible[np.unique(mask.visible)] = True
    np.testing.assert_array_equal(np.abs(gradient).max(axis=1) > 0, visible)

"""MixedAE: mixtures of four pictures, whose tokens attend to those most like them."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jax.sharding import AbstractMesh

from maskmim.config.load import load
from maskmim.losses.regression import squared_error
from maskmim.masks.mixtures import partition
from maskmim.methods.masked import masked
from maskmim.models.layers.attention import top_k_attention
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.posembed import sincos
from maskmim.models.mixed_ae import vit_mixed_ae
from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.homologous import recognise, same_source
from maskmim.objectives.matching import match
from maskmim.planning.summary import method_rows
from maskmim.targets.pixels import normalised_patches
from maskmim.training.build import assemble, build_method
from maskmim.training.sharding import AXES
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Encoded, Randomness, Spec, Variables, View, random_key
from tests.tolerances import PARITY, REORDERED

pytestmark = pytest.mark.full

SPEC = Spec((16, 16), 3, (0.5,) * 3, (0.25,) * 3)
SOURCES, EXAMPLES, TOKENS, HEADS = 4, 8, 16, 2
TEMPERATURE = 0.25


def composed(scale=0.1):
    """MixedAE's method on 4 x 4 tokens."""
    net = partial(vit_mixed_ae, variant=f"2x16x{HEADS}", patch=(4, 4), decoder_depth=1)
    pixels = partial(match, head="pixels", target=normalised_patches, loss=squared_error)
    return masked(
        SPEC,
        model=partial(net, decoder_width=16, decoder_heads=HEADS),
        mask=partial(partition, sources=SOURCES),
        objectives={
            "pixels": pixels,
            "sources": partial(same_source, temperature=TEMPERATURE, scale=scale),
        },
        teachers={},
    )


@cache
def example():
    """Return method, params, pictures, randomness, and the jitted terms with gradients."""
    method = composed()
    shapes = jax.eval_shape(lambda: method.init(jax.random.key(0))[0])
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)
    pictures = rng.integers(0, 256, (EXAMPLES, 16, 16, 3), np.uint8)
    randomness = Randomness.of(random_key(3), EXAMPLES)

    def loss(params, pictures, weights):
        found = method.loss(Variables(params, {}, {}), {"image": pictures}, randomness, 0.0)
        terms = jnp.stack([found.terms[name].value for name in ("pixels", "sources")])
        mask = partition(randomness, Context({}, method.net.grids, {}), sources=SOURCES)
        encoded = method.net.encode(params, method.net.inputs({"image": pictures}), mask)
        return jnp.sum(terms * weights), (terms, encoded, mask)

    return method, params, pictures, jax.jit(jax.grad(loss, has_aux=True))


def dense(weights, name, x):
    return x @ weights[f"{name}/kernel"].reshape(x.shape[-1], -1) + weights[f"{name}/bias"].ravel()


def layer_norm(weights, name, x):
    scale, bias = weights[f"{name}/norm/scale"], weights[f"{name}/norm/bias"]
    return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, bias, 1e-6)


def transform(weights, name, x, keys):
    """Blocks written by hand; each query has the `keys` highest scores of its head."""
    depth = len(weights[f"{name}/blocks/norm1/norm/scale"])
    for layer in range(depth):
        start = f"{name}/blocks/"
        own = {p.removeprefix(start): w[layer] for p, w in weights.items() if p.startswith(start)}
        qkv = dense(own, "attention/qkv", layer_norm(own, "norm1", x))
        query, key, value = qkv.reshape(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        chosen = scores.argsort(-1, descending=True)[..., :keys]
        shares = scores.gather(-1, chosen).softmax(-1)
        attention = torch.zeros_like(scores).scatter(-1, chosen, shares)
        mixed = (attention @ value).transpose(1, 2).reshape(x.shape)
        x = x + dense(own, "attention/out", mixed)
        hidden = torch.nn.functional.gelu(dense(own, "mlp/up", layer_norm(own, "norm2", x)))
        x = x + dense(own, "mlp/down", hidden)
    return x


def oracle(params, patches, source):
    """Both losses and all gradients in float64, from pictures that are mixed before the encoder.

    source: [G, N] which picture of the group each place shows.
    """
    weights = {
        path: torch.tensor(np.asarray(leaf, np.float64), requires_grad=True)
        for path, leaf in named_leaves(params)
    }
    table = torch.tensor(np.asarray(sincos(16, (4, 4)), np.float64))
    patches = torch.tensor(np.asarray(patches, np.float64)).reshape(-1, SOURCES, TOKENS, 48)
    groups, places = np.arange(len(patches))[:, None], np.arange(TOKENS)[None]
    mixed = patches[groups, source, places]
    x = dense(weights, "encoder/embed", mixed) + table
    x = x + weights["encoder/source_embedding"][:, 0][source]
    first = weights["encoder/class_token"].expand(len(x), 1, -1)
    x = transform(weights, "encoder/stack", torch.cat([first, x], 1), TOKENS // SOURCES)
    x = layer_norm(weights, "encoder/norm", x)
    units = torch.nn.functional.normalize(x[:, 1:], dim=-1)
    found = []
    for group, own in zip(units, torch.tensor(source), strict=True):
        similar = group @ group.T / TEMPERATURE
        for token in range(TOKENS):
            others = [other for other in range(TOKENS) if other != token]
            logs = similar[token, others].log_softmax(0)
            found.append(-logs[own[others] == own[token]].mean())
    recognition = torch.stack(found).mean()
    squares = []
    for number in range(SOURCES):
        shown = torch.tensor(source == number)[..., None]
        tokens = dense(weights, "decoder/embed", x[:, 1:])
        tokens = torch.where(shown, tokens, weights["decoder/mask_token"]) + table
        first = dense(weights, "decoder/embed", x[:, :1])
        y = transform(weights, "decoder/stack", torch.cat([first, tokens], 1), TOKENS + 1)
        y = dense(weights, "decoder/head_pixels", layer_norm(weights, "decoder/norm", y)[:, 1:])
        own = patches[:, number]
        wanted = (own - own.mean(-1, True)) / (own.var(-1, keepdim=True) + 1e-6).sqrt()
        squares.append(((y - wanted) ** 2).mean(-1)[~shown[..., 0]])
    pixels = torch.cat(squares).mean()
    (pixels + 0.1 * recognition).backward()
    losses = [pixels.item(), recognition.item()]
    return losses, {path: leaf.grad.numpy() for path, leaf in weights.items()}


def sources_of(mask):
    """Return which picture of the group each place shows: [G, N]."""
    shown = ~np.asarray(mask.hidden).reshape(-1, SOURCES, TOKENS)
    assert (shown.sum(axis=1) == 1).all()
    return shown.argmax(axis=1)


@pytest.mark.proves(20, "losses and gradients equal those of pictures mixed before the encoder")
def test_equals_the_oracle():
    method, params, pictures, run_back = example()
    gradients, (terms, _, mask) = run_back(params, pictures, np.array([1.0, 0.1]))
    patches = method.net.patchify(method.net.inputs({"image": pictures}))
    losses, expected = oracle(params, patches, sources_of(mask))
    np.testing.assert_allclose(terms, losses, rtol=PARITY)
    for path, gradient in named_leaves(gradients):
        error = np.abs(gradient - expected[path]).max() / np.abs(expected[path]).max()
        assert error <= PARITY, (path, error)


@pytest.mark.proves(20, "a group of pictures is encoded together, and apart from every other group")
def test_groups_are_apart():
    _, params, pictures, run_back = example()
    both = np.ones(2)
    before = run_back(params, pictures, both)[1][1]
    changed = pictures.copy()
    changed[1] = 255 - changed[1]
    after = run_back(params, changed, both)[1][1]
    apart = np.abs(np.asarray(after.tokens) - np.asarray(before.tokens)).max(axis=(1, 2))
    assert (apart[:4] > 0.01).all() and not apart[4:].any()
    np.testing.assert_array_equal(before.prefix[0], before.prefix[3])
    assert np.abs(np.asarray(before.prefix[0] - before.prefix[4])).max() > 0.01


def test_whole_pictures_are_encoded_alone():
    method, params, pictures, _ = example()
    encode = jax.jit(method.apply["encode"])
    variables = Variables(params, {}, {})
    every = encode(variables, {"image": pictures}).tokens
    one = encode(variables, {"image": pictures[2:3]}).tokens
    assert every.shape == (EXAMPLES, TOKENS, 16)
    np.testing.assert_allclose(every[2:3], one, rtol=REORDERED, atol=REORDERED)


@pytest.mark.proves(20, "a query has exactly K keys: its highest scores, with a softmax over them")
def test_attention_has_k_keys():
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 2, 3, 13, 4)).astype(np.float32)
    value = np.broadcast_to(np.eye(13, dtype=np.float32), (2, 3, 13, 13))
    weights = np.asarray(top_k_attention(query, key, value, count=5))
    scores = np.einsum("bhqd,bhkd->bhqk", query, key) / 2
    assert ((weights > 0).sum(axis=-1) == 5).all()
    order = np.argsort(-scores, axis=-1)[..., :5]
    highest = np.take_along_axis(scores, order, axis=-1)
    shares = np.exp(highest) / np.exp(highest).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(np.take_along_axis(weights, order, axis=-1), shares, rtol=PARITY)
    gradient = jax.grad(lambda query: top_k_attention(query, key, value, count=5)[0].sum())(query)
    assert np.isfinite(gradient).all()


def test_recognition_of_separate_sources():
    """Tokens that are one direction for each source are all found; the loss is that of ties."""
    tokens = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)[None]
    loss, nearest = recognise(jnp.asarray(tokens), 4, 0.25)
    np.testing.assert_allclose(loss, np.log(2 + 9 * np.exp(-4)), rtol=PARITY)
    assert np.asarray(nearest).all()


@pytest.mark.parametrize(
    ("examples", "devices", "words"),
    [
        (16, 8, r"16 examples .* groups of 4 on each of 8 devices.*multiple of 32"),
        (6, 1, r"6 examples do not divide into groups of 4"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused(examples, devices, words):
    method, params, _, _ = example()
    randomness = Randomness.of(random_key(0), examples)
    shape = jax.ShapeDtypeStruct((examples, 16, 16, 3), jnp.uint8)

    def loss(pictures):
        return method.loss(Variables(params, {}, {}), {"image": pictures}, randomness, 0.0).terms

    with (
        jax.sharding.use_abstract_mesh(AbstractMesh((devices, 1, 1, 1), AXES)),
        pytest.raises(ValueError, match=words),
    ):
        jax.eval_shape(loss, shape)


def test_a_mask_that_is_no_partition_is_refused():
    method, params, pictures, _ = example()
    context = Context({}, method.net.grids, {})
    mask = partition(Randomness.of(random_key(0), EXAMPLES), context, sources=2)
    inputs = method.net.inputs({"image": pictures})
    with pytest.raises(ModelError, match="use the sampler maskmim"):
        method.net.encode(params, inputs, mask)
    encoded = Encoded(np.zeros((3, 1, 16), np.float32), np.zeros((3, 8, 16), np.float32))
    view = View(method.net, context, inputs, mask, encoded, {}, {}, params)
    with pytest.raises(ObjectiveError, match="3 examples that show 8 of 16 tokens"):
        same_source().find(view)


def gratings(key, examples):
    """Pictures of waves, each of one direction and colour axis, with noise; equal on average."""
    turn, phase, colour, noise = jax.random.split(key, 4)
    turn = jax.random.uniform(turn, (examples, 1, 1), maxval=np.pi)
    phase = jax.random.uniform(phase, (examples, 1, 1), maxval=2 * np.pi)
    rows, columns = jnp.mgrid[:16, :16].astype(jnp.float32)[:, None]
    wave = jnp.sin(1.6 * (jnp.cos(turn) * rows + jnp.sin(turn) * columns) + phase)
    axis = jax.random.normal(colour, (examples, 1, 1, 3))
    axis = axis / jnp.linalg.norm(axis, axis=-1, keepdims=True)
    picture = 128 + 90 * wave[..., None] * axis
    picture = picture + 10 * jax.random.normal(noise, picture.shape)
    return {"image": jnp.clip(picture, 0, 255).astype(jnp.uint8)}


def trained(scale, steps=300):
    """Return the share of pairs in which tokens of one source are the more similar (AUC)."""
    method, optimiser = composed(scale), optax.adam(3e-3)

    @jax.jit
    def train(params):
        def loss(params, key):
            randomness = Randomness.of(key, 32)
            found = method.loss(Variables(params, {}, {}), gratings(key, 32), randomness, 0.0)
            return found.terms["pixels"].value + scale * found.terms["sources"].value

        def step(carry, number):
            params, state = carry
            gradients = jax.grad(loss)(params, jax.random.fold_in(random_key(1), number))
            updates, state = optimiser.update(gradients, state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimiser.init(params)), jnp.arange(steps))[0][0]

    params = train(method.init(random_key(0))[0])
    randomness = Randomness.of(random_key(99), 128)
    mask = partition(randomness, Context({}, method.net.grids, {}), sources=SOURCES)
    inputs = method.net.inputs(gratings(random_key(98), 128))
    tokens = np.asarray(method.net.encode(params, inputs, mask).tokens).reshape(32, 16, 16)
    units = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    cosines = np.einsum("gid,gjd->gij", units, units)
    own = np.arange(16) // 4
    same = (own[:, None] == own) & ~np.eye(16, dtype=bool)
    other = own[:, None] != own
    return np.mean([(c[same][:, None] > c[other][None]).mean() for c in cosines])


@pytest.mark.slow
@pytest.mark.proves(20, "with the term tokens know those of their picture, without it hardly")
def test_sources_are_recognised_with_the_term():
    with_term, without = trained(0.1), trained(0.0)
    print(f"AUC of pairs of one source: {with_term:.3f} with the term, {without:.3f} without")
    assert with_term > 0.95 and without < with_term - 0.15


def test_the_start_sheet_counts_a_whole_group():
    """Two examples, which are enough for other methods, are no group."""
    config = load("mixed_ae:tiny")
    rows = dict(method_rows(config, assemble(config, 296)))
    assert rows[""] == "16 per image, 4 visible, 12 predicted"


def test_the_published_recipe():
    config = load("mixed_ae")
    assert (config.train.batch_size, config.optim.lr, config.optim.lr_per) == (4096, 1.5e-4, 256)
    assert (config.mask.sources, config.model.sources) == (4, 4)
    assert (config.objectives.sources.scale, config.objectives.sources.temperature) == (0.1, 0.25)
    _, method = build_method(config)
    assert method.net.grids == {"image": (14, 14)}
    assert load("mixed_ae:tiny").train.batch_size % (8 * 4) == 0

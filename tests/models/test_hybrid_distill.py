"""Hybrid Distill: which tokens are left, and how their relations are compared with a teacher's."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.checkpoints.workdir import save_config
from maskmim.config.load import load
from maskmim.masks.roles import everything
from maskmim.models.dropping import check_drops, most_unlike_mean, vit_dropping
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.frozen_vit import random_vit
from maskmim.models.layers.blocks import Blocks
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.relations import match_relations
from maskmim.objectives.visible import on_visible
from maskmim.teachers.frozen import FrozenError, relations
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Encoded, Mask, Net, Randomness, View
from tests.comparing import close
from tests.tiny import SPEC, pictures

full = pytest.mark.full
RNG = np.random.default_rng(0)
SMALL = {"variant": "3x16x2", "patch": (8, 8)}
COUNT, LENGTH, HEADS, SIZE = 3, 6, 2, 4


def view(blocks=3, teacher_heads=HEADS, teacher_blocks=1):
    """Two examples of six tokens, of which the encoder is left with three, after a class token."""
    rows = {
        name: RNG.normal(size=(blocks, 2, HEADS, 1 + COUNT, SIZE)).astype("f4")
        for name in ("queries", "keys", "values")
    }
    hints = {
        f"teacher_{name}": RNG.normal(size=(teacher_blocks, 2, teacher_heads, LENGTH, SIZE)).astype(
            "f4"
        )
        for name in rows
    }
    visible = np.array([[0, 1, 2, 4, 5], [1, 2, 3, 4, 5]])
    kept = np.array([[0, 2, 4], [1, 2, 3]])  # places among the visible tokens
    mask = Mask(
        jnp.asarray(visible), jnp.asarray(visible), jnp.zeros((2, LENGTH), bool), jnp.ones((2, 5))
    )
    tokens = jnp.zeros((2, COUNT, 8))
    encoded = Encoded(jnp.zeros((2, 1, 8)), tokens, kept=jnp.asarray(kept), **rows)
    net = Net({"image": (2, 3)}, 8, lambda key: {}, *[None] * 6)
    return View(net, Context({}, net.grids, hints), (), mask, encoded, {}, {})


PLACES = np.array([[0, 2, 5], [2, 3, 4]])  # on the grid, of the tokens that are left


def peer(one: View, left: str, right: str, block: int) -> np.ndarray:
    """torch's divergence of the relations of one block: f32[B, K]."""

    def logarithm(rows, others):
        products = torch.from_numpy(rows) @ torch.from_numpy(others).transpose(-1, -2)
        return torch.log_softmax(products / SIZE**0.5, dim=-1)

    def at(rows):
        return np.stack([each[:, places] for each, places in zip(rows, PLACES, strict=True)])

    student = [getattr(one.encoded, name)[block][:, :, 1:] for name in (left, right)]
    teacher = [at(one.context.hints[f"teacher_{name}"][0]) for name in (left, right)]
    own, other = logarithm(*student), logarithm(*teacher)
    divergence = torch.nn.functional.kl_div(own, other, reduction="none", log_target=True)
    return divergence.sum(-1).mean(1).numpy()


@pytest.mark.proves(
    13, "relations of queries and keys and of values, among the tokens left, equal torch's KL"
)
@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize(
    ("of", "names"), [("queries_keys", ("queries", "keys")), ("values", ("values", "values"))]
)
def test_relations_equal_the_divergence_of_torch(of, names, back):
    one = view()
    np.testing.assert_array_equal(on_visible(one).mask.predict, PLACES)
    objective = match_relations(of=of, back=back)
    per_token, weight, _, _ = objective.find(one)
    close(per_token, peer(one, *names, block=2 - back))
    np.testing.assert_array_equal(weight, np.ones((2, COUNT)))
    assert objective.captures == tuple(dict.fromkeys(names))
    assert objective.needs == tuple(f"teacher_{name}" for name in objective.captures)


def test_what_cannot_be_related_is_refused():
    with pytest.raises(ModelError, match="the encoder has 2 heads, the teacher 3"):
        match_relations().find(view(teacher_heads=3))
    with pytest.raises(ModelError, match="of 2 blocks, and back=1, but the method captures 2"):
        match_relations(back=1).find(view(blocks=2, teacher_blocks=2))
    for before, left in (((), ()), ((1,), (0.5, 0.4)), ((2, 1), (0.5, 0.4)), ((1, 2), (0.4, 0.5))):
        with pytest.raises(ModelError, match="do not fit 3 blocks"):
            check_drops(before, left, 3)


@pytest.mark.proves(13, "left out are the tokens whose cosine to their example's mean is largest")
def test_tokens_most_like_the_mean_are_left_out():
    tokens = RNG.normal(size=(4, 7, 5)) + 0.5
    units = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    mean = tokens.mean(1, keepdims=True)
    cosines = (units * mean / np.linalg.norm(mean, axis=-1, keepdims=True)).sum(-1)
    expected = np.sort(np.argsort(cosines, axis=1)[:, :3], axis=1)
    np.testing.assert_array_equal(most_unlike_mean(jnp.asarray(tokens, jnp.float32), 3), expected)


@full
@pytest.mark.proves(
    13, "tokens are left out between blocks, in steps; whole examples keep them all"
)
def test_the_encoder_goes_on_with_fewer_tokens():
    """Against the plain ViT up to the first drop, and blocks applied by hand behind it."""
    plain = vit_encoder(SPEC, **SMALL)
    net = vit_dropping(SPEC, **SMALL, drop_before=(1, 2), left=(0.75, 0.5))
    params = net.init(jax.random.key(0))
    assert jax.tree.structure(params) == jax.tree.structure(
        jax.eval_shape(plain.init, jax.random.key(0))
    )
    batch = {"image": pictures(2)}
    randomness = Randomness.of(jax.random.key(0), 2)
    mask = everything(randomness, Context(batch, net.grids, {}))

    @jax.jit
    def run(params):
        inputs = net.inputs(batch)
        capture = ("layers", "queries")
        found = [net.encode(params, inputs, each, capture=capture) for each in (mask, None)]
        return *found, plain.encode(params, inputs, None, capture=capture)

    dropped, whole, expected = run(params)
    close(whole.tokens, expected.tokens)
    close(whole.queries, expected.queries)
    assert whole.kept is None and whole.layers.shape == (3, 2, 13, 16)
    x, kept = np.asarray(expected.layers[0]), np.tile(np.arange(12), (2, 1))
    for block, count in ((1, 9), (2, 6)):
        places = np.asarray(most_unlike_mean(jnp.asarray(x[:, 1:]), count))
        kept = np.take_along_axis(kept, places, axis=1)
        rest = np.take_along_axis(x[:, 1:], places[..., None], axis=1)
        stack = jax.tree.map(lambda leaf, n=block: leaf[n : n + 1], params["encoder"]["stack"])
        blocks = Blocks(1, 2, 64, 1e-6, jnp.float32)
        x = np.concatenate([x[:, :1], rest], axis=1)
        x = np.asarray(jax.jit(lambda p, x, b=blocks: b.apply({"params": p}, x)[0])(stack, x))
    np.testing.assert_array_equal(dropped.kept, kept)
    close(dropped.layers[0], x)
    assert dropped.tokens.shape == (2, 6, 16) and dropped.layers.shape[0] == 1
    assert dropped.queries.shape == (1, 2, 2, 7, 8)


@full
@pytest.mark.proves(13, "gradients of all losses reach the student, none the two teachers")
def test_gradients_reach_the_student_alone():
    _, method = build_method(load("hybrid_distill:tiny"))
    variables = jax.jit(method.variables)(jax.random.key(0))
    picture = RNG.integers(0, 256, (2, 32, 32, 3), np.uint8)

    @jax.jit
    def gradients(params, frozen):
        def terms(params, frozen):
            both = variables._replace(params=params, frozen=frozen)
            losses = method.loss(both, {"image": picture}, Randomness.of(jax.random.key(1), 2), 0.0)
            assert losses.scales == {"features": 1.0, "queries_keys": 1.0, "values": 1.0}
            return jnp.stack([losses.terms[name].value for name in losses.scales])

        return jax.jacrev(terms, argnums=(0, 1))(params, frozen)

    of_student, of_teachers = gradients(variables.params, variables.frozen)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_teachers))
    for path, leaf in named_leaves(of_student):
        of_features, of_keys, of_values = np.asarray(leaf)
        assert np.any(of_features), path
        if path.startswith("encoder/embed"):
            assert np.any(of_keys) and np.any(of_values), path
        if path.startswith(("align/", "encoder/norm/")):
            assert not np.any(of_keys) and not np.any(of_values), path


def test_a_teacher_of_fewer_blocks_is_refused():
    network = partial(random_vit, variant="nano", patch=(8, 8))
    teacher = relations(network=network, blocks=3)
    assert teacher.gives == ("teacher_queries", "teacher_keys", "teacher_values")
    context = Context({"image": pictures(1)}, {"image": (4, 3)}, {})
    with pytest.raises(FrozenError, match="relations of 3 blocks are asked of 2"):
        jax.eval_shape(lambda: teacher.find(None, (), teacher.freeze(), context, None))


def test_the_published_recipes(tmp_path):
    config = load("hybrid_distill")
    assert (config.model.drop_before, config.train.epochs) == ((4, 8), 300)
    assert config.teachers.diverse.network.path == "vit-mae-base/model.safetensors"
    wide = load("hybrid_distill:variant=L/16,teacher=clip_l")
    assert (wide.model.drop_before, wide.calls.align["values"]) == ((8, 16), 1024)
    assert (wide.teachers.diverse.network.layer, wide.teachers.diverse.network.variant) == (23, "L")
    save_config(tmp_path, load("mae:tiny"))
    runs = load(f"hybrid_distill:tiny,features={tmp_path},relations={tmp_path}").teachers
    assert runs.discriminating.network.workdir == runs.diverse.network.workdir == str(tmp_path)

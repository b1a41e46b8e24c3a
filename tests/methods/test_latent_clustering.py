"""CAPI: equal to the official code, gradients that stay apart, clusters that do not collapse."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config import facts
from maskmim.config.load import load
from maskmim.interop.layout import arrays_of, check_covered, params_of
from maskmim.losses.classification import soft_cross_entropy
from maskmim.losses.sinkhorn_knopp import sinkhorn
from maskmim.methods.latent_clustering import latent_clustering
from maskmim.methods.masked import MethodError
from maskmim.models.prototypes import prototypes
from maskmim.models.rotary_vit import vit_rotary
from maskmim.objectives.clustering import fit_prototypes
from maskmim.objectives.matching import match
from maskmim.planning.cost import batch_shapes, tokens_per_example, variables_shapes
from maskmim.quantize.prototypes import prototype_logits
from maskmim.targets.clusters import assigned
from maskmim.teachers.average import average
from maskmim.teachers.clusters import balanced
from maskmim.teachers.features import last_tokens
from maskmim.teachers.momentum import constant
from maskmim.training.build import assemble
from maskmim.training.train_step import initial_state, make_train_step
from maskmim.tree_paths import named_leaves
from maskmim.types import Randomness, Spec, Variables
from tests.comparing import close
from tests.golden.capi import case
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3)
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)


def given_mask(randomness, context):
    return jax.tree.map(jnp.asarray, case.mask())


def method(momentum=0.9):
    loss = partial(soft_cross_entropy, temperature=case.STUDENT)
    return latent_clustering(
        SPEC,
        model=partial(
            vit_rotary,
            variant=f"{case.DEPTH}x{case.WIDTH}x{case.HEADS}",
            patch=(case.PATCH, case.PATCH),
            registers=case.REGISTERS,
            decoder_depth=case.DECODER_DEPTH,
            heads={"clusters": case.CLUSTERS},
            drop_path=0.0,
        ),
        mask=given_mask,
        objectives={
            "student": partial(match, head="clusters", target=assigned, loss=loss),
            "clusters": partial(fit_prototypes, temperature=case.STUDENT),
        },
        average=partial(
            average,
            find=last_tokens,
            momentum=partial(constant, value=momentum),
            parts=("encoder",),
        ),
        clusters=partial(
            balanced,
            temperature=case.TARGET,
            iterations=case.ITERATIONS,
        ),
        calls={"clusters": partial(prototypes, clusters=case.CLUSTERS)},
    )


@cache
def example():
    """(method, variables with the official weights, batch)."""
    made = method()
    params, _ = jax.eval_shape(made.init, jax.random.key(0))
    shapes = {path: leaf.shape for path, leaf in named_leaves(params)}
    check_covered(case.layout(), shapes, "the official layout")
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape), params)
    theirs = {name: a.shape for name, a in arrays_of(case.layout(), blank).items()}
    weights = {name: case.weight(name, shape) for name, shape in theirs.items()}
    params = params_of(case.layout(), shapes, weights)
    extra = {"average": {"encoder": params["encoder"]}, "clusters": ()}
    batch = {"image": case.pictures().transpose(0, 2, 3, 1)}
    return made, Variables(params, extra, made.freeze()), batch


@cache
def both_losses():
    """{term: (value, gradients of params and of the average)}."""
    made, variables, batch = example()

    def losses(params, extra):
        trained = Variables(params, extra, variables.frozen)
        terms = made.loss(trained, batch, RANDOMNESS, jnp.float32(0)).terms
        return {name: term.value for name, term in terms.items()}

    @jax.jit
    def run(params, extra):
        values, back = jax.vjp(losses, params, extra)
        alone = {name: {other: jnp.float32(other == name) for other in values} for name in values}
        return {name: (values[name], back(share)) for name, share in alone.items()}

    return run(*variables[:2])


@pytest.mark.proves(64, "both losses and all their gradients equal the official code's")
def test_losses_and_gradients_equal_the_official_code():
    golden = np.load(case.GOLDEN)
    losses = both_losses()
    close(losses["student"][0], golden["student"], name="student")
    close(losses["clusters"][0], golden["clustering"], name="clusters")
    gradients = jax.tree.map(jnp.add, losses["student"][1][0], losses["clusters"][1][0])
    ours = {
        name: a.reshape(-1)[:: case.EVERY]
        for name, a in arrays_of(case.layout(), gradients).items()
    }
    ends = np.cumsum([len(part) for part in ours.values()])
    theirs = np.split(golden["gradients"], ends[:-1])
    for (name, part), gradient in zip(ours.items(), theirs, strict=True):
        close(part, gradient, name=name)
        assert np.any(part), name


@pytest.mark.proves(64, "the student's loss trains the student alone, the clusters' the prototypes")
def test_gradients_stay_apart_and_never_reach_the_average():
    for name, (_, (params, extra)) in both_losses().items():
        for path, gradient in named_leaves(params):
            reached = path.startswith("clusters/") == (name == "clusters")
            assert np.any(gradient) == reached, (name, path)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(extra)), name


@pytest.mark.proves(64, "features, assignments and predictions equal the official code's")
def test_every_stage_equals_the_official_code():
    golden = np.load(case.GOLDEN)
    made, variables, batch = example()

    @jax.jit
    def run(variables):
        net, params, mask = made.net, variables.params, given_mask(None, None)
        encoded = net.encode(params, net.inputs(batch), mask)
        features = made.apply["encode"](variables, batch).tokens
        scores = prototype_logits(params["clusters"], features) / case.TARGET
        shares = sinkhorn(scores, iterations=case.ITERATIONS)
        return features, shares, encoded.tokens, net.predict(params, encoded, mask)["clusters"]

    names = ("tokens", "assignments", "encoded", "prediction")
    for name, ours in zip(names, run(variables), strict=True):
        close(ours, golden[name], name=name)


def test_the_average_is_clustered_and_evaluated():
    """An average of zeros gives tokens of zeros, whose logits are the biases, for any params."""
    made, variables, batch = example()
    zeros = variables._replace(extra=jax.tree.map(jnp.zeros_like, variables.extra))

    @jax.jit
    def run(variables):
        losses = made.loss(variables, batch, RANDOMNESS, jnp.float32(0))
        return made.apply["encode"](variables, batch).tokens, losses.terms["clusters"].value

    tokens, loss = run(zeros)
    assert not np.any(tokens)
    log_probabilities = jax.nn.log_softmax(variables.params["clusters"]["bias"] / case.STUDENT)
    np.testing.assert_allclose(loss, -np.mean(log_probabilities), rtol=PARITY)


def test_sheets_show_every_token():
    made, variables, batch = example()
    sheet = jax.jit(made.sheets["student"])(variables, batch, RANDOMNESS)
    for name, picture in sheet.items():
        assert picture.shape == (case.EXAMPLES, *SPEC.size, 3) and picture.dtype == np.uint8, name
    cells = np.asarray(sheet["predicted clusters"])[:, :: case.PATCH, :: case.PATCH]
    one_patch = cells.repeat(case.PATCH, 1).repeat(case.PATCH, 2)
    np.testing.assert_array_equal(sheet["predicted clusters"], one_patch)


def test_an_average_without_features_is_refused():
    @facts.finder(gives=("attention",))
    def nothing(net, params, context):
        return {}

    other = partial(average, find=nothing, momentum=partial(constant, value=0.9))
    with pytest.raises(MethodError, match="features"):
        latent_clustering(
            SPEC,
            model=None,
            mask=None,
            objectives={},
            average=other,
            clusters=balanced,
            calls={},
        )


def test_a_start_and_steps_that_lower_both_losses_and_move_the_average():
    made, _, batch = example()
    optimiser = optax.adam(3e-3)
    state = jax.jit(lambda key: initial_state(made, optimiser, key))(jax.random.key(1))
    head = state.params["decoder"]["head_clusters"]
    assert np.std(head["kernel"]) == pytest.approx(0.02, rel=0.2)
    np.testing.assert_array_equal(head["scale"], 1)
    np.testing.assert_allclose(np.std(state.params["clusters"]["kernel"]), 1, rtol=0.2)
    step = jax.jit(make_train_step(made, optimiser, seed=0, total_steps=40))
    rows = []
    for _ in range(40):
        before, (state, metrics) = state, step(state, made.freeze(), batch)
        rows.append({name: float(value) for name, value in metrics.items()})
    assert rows[-1]["loss/clusters"] < 0.8 * rows[0]["loss/clusters"]
    assert rows[-1]["loss/student"] < 0.8 * rows[0]["loss/student"]
    assert 0.5 < rows[-1]["clusters/used"] <= 1
    for (path, old), new, own in zip(
        named_leaves(before.extra["average"]["encoder"]),
        jax.tree.leaves(state.extra["average"]["encoder"]),
        jax.tree.leaves(state.params["encoder"]),
        strict=True,
    ):
        np.testing.assert_allclose(new, 0.9 * old + 0.1 * own, rtol=1e-4, atol=1e-6, err_msg=path)
    assert set(state.extra) == {"average", "clusters"} and not state.extra["clusters"]
    assert "clusters" in state.params


def test_the_published_recipe():
    """The numbers of default_pretrain_config.yaml."""
    config = load("configs/capi.py")
    parts = assemble(config, 1_281_167)
    assert parts.span.steps == 500_000 and config.train.batch_size == 16_384
    batch = batch_shapes(config, 2)
    tokens = tokens_per_example(parts.method, variables_shapes(parts), batch)
    assert tuple(tokens) == (256, 90, 8)
    assert parts.peak == 1e-3 and config.optim.weight_decay == 0.1
    assert [float(parts.schedule(step)) for step in (0, 25_000, 50_000)] == [0, 0.5, 1]
    assert parts.shapes.params["clusters"]["kernel"].shape == (1024, 16_384)
    assert config.model.drop_path == 0.2 and config.model.registers == 16
    assert config.data.augment.scale == (0.6, 1.0)


@pytest.mark.proves(64, "without Sinkhorn the clusters collapse, with it all stay in use")
def test_balance_prevents_collapse():
    """Prototypes alone, on features that share most of their direction."""
    examples, clusters, rng = 64, 16, np.random.default_rng(0)
    features = 3.0 + rng.normal(size=(examples, 2, 8)).astype(np.float32)
    optimiser = optax.adam(0.05)

    def shares(params, balanced):
        scores = jax.lax.stop_gradient(prototype_logits(params, features)) / case.TARGET
        return sinkhorn(scores, iterations=3) if balanced else jax.nn.softmax(scores)

    def loss(params, balanced):
        assignments = shares(params, balanced)
        return jnp.mean(
            soft_cross_entropy(prototype_logits(params, features), assignments, temperature=0.12)
        )

    @partial(jax.jit, static_argnums=1)
    def trained(params, balanced):
        def step(_, carry):
            params, state = carry
            updates, state = optimiser.update(jax.grad(loss)(params, balanced), state)
            return optax.apply_updates(params, updates), state

        params, _ = jax.lax.fori_loop(0, 200, step, (params, optimiser.init(params)))
        return jnp.argmax(shares(params, balanced), axis=-1)

    start = {
        "kernel": rng.normal(size=(8, clusters)).astype(np.float32),
        "bias": np.zeros(clusters),
    }
    start = jax.tree.map(jnp.float32, start)
    used = {balanced: len(np.unique(trained(start, balanced))) for balanced in (True, False)}
    print("clusters used of 16 with and without Sinkhorn:", used)
    assert used[True] == clusters and used[False] <= clusters // 4

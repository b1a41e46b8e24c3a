"""Training a tokenizer: what each term reaches, and that pictures come back better."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

from maskmim.config.load import load
from maskmim.methods.vq_autoencoder import adversarial, autoencoder
from maskmim.models.critic import stylegan
from maskmim.models.vq_autoencoder import vq_autoencoder
from maskmim.training.build import build_method
from maskmim.training.train_step import initial_state, make_train_step
from maskmim.tree_paths import named_leaves
from maskmim.types import Randomness, Spec, Variables
from tests.compiling import quick_jit
from tests.golden.maskgit.case import params_of
from tests.running import ROOT

pytestmark = pytest.mark.full

SPEC = Spec((8, 8), 3, (0.0,) * 3, (1.0,) * 3)
TERMS = {"reconstruction": 1.0, "codebook": 1.0, "commitment": 0.25, "entropy": 0.1}
CONTEST = {"adversarial": 0.1, "discriminator": 1.0, "slope": 10.0}
SIZES = {"width": 8, "levels": (1, 2), "blocks": 1, "groups": 2}
model = partial(vq_autoencoder, codes=16, codes_width=4, **SIZES)
critic = partial(stylegan, capacity=32, widest=4)


def pictures(examples=8):
    """Pictures of two colours, one in each half."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (examples, 1, 2, 3), np.uint8).repeat(8, axis=1).repeat(4, axis=2)


@pytest.mark.proves(101, "each term moves its own side: encoder, decoder, codes or discriminator")
def test_what_each_term_reaches():
    method = adversarial(SPEC, model=model, critic=critic, scales={**TERMS, **CONTEST})
    params = params_of(lambda key: method.init(key)[0], 0.2)

    @quick_jit
    def slope(weights):
        def loss(params):
            arguments = Variables(params, (), ()), {"image": pictures(2)}
            losses = method.loss(*arguments, Randomness.of(jax.random.key(0), 2), 0.0)
            return sum(weights[name] * term.value for name, term in losses.terms.items())

        return jax.grad(loss)(params)

    names = (*TERMS, *CONTEST)
    weights = {name: {each: float(each == name) for each in names} for name in names}
    reached = {
        name: {path.split("/")[0] for path, leaf in named_leaves(slope(each)) if np.any(leaf)}
        for name, each in weights.items()
    }
    both = {"encoder", "decoder"}
    assert reached == {
        "reconstruction": both,
        "codebook": {"codebook"},
        "commitment": {"encoder"},
        "entropy": {"encoder", "codebook"},
        "adversarial": both,
        "discriminator": {"critic"},
        "slope": {"critic"},
    }


def test_the_terms_are_means_over_values():
    method = autoencoder(SPEC, model=model, scales=TERMS)
    params = params_of(lambda key: method.init(key)[0], 0.2)

    @quick_jit
    def run(params, batch):
        arguments = Variables(params, (), ()), batch
        randomness = Randomness.of(jax.random.key(0), 8)
        found = method.loss(*arguments, randomness, 0.0)
        vectors = method.net.encode(params, method.net.inputs(batch), None).tokens
        shown = method.sheets["tokenizer"](*arguments, randomness)
        tokens = method.apply["encode"](*arguments).tokens
        return found.terms, found.metrics, method.apply["codes"](*arguments), vectors, tokens, shown

    found = run(params, {"image": pictures()})
    terms, metrics, codes, vectors, quantised, shown = jax.tree.map(np.asarray, found)
    assert codes.shape == (8, 16) and shown["image"].dtype == np.uint8
    np.testing.assert_array_equal(shown["image"], pictures())
    error = (shown["from its codes"].astype(np.float32) - pictures()) / 255
    # What is shown is cut to the range of pixels.
    assert 0 < np.mean(error**2) <= terms["reconstruction"].total / terms["reconstruction"].weight
    distance = np.mean((quantised - vectors) ** 2)
    for name in ("codebook", "commitment"):
        np.testing.assert_allclose(terms[name].total / terms[name].weight, distance, rtol=1e-4)
    counts = np.bincount(codes.reshape(-1), minlength=16)
    np.testing.assert_allclose(metrics["codes/used"].total, np.mean(counts > 0))


@pytest.mark.proves(101, "a tokenizer learns to write pictures down in codes")
def test_steps_bring_pictures_back_better():
    method = autoencoder(SPEC, model=model, scales=TERMS)
    optimiser = optax.adam(5e-3)
    state = quick_jit(partial(initial_state, method, optimiser))(jax.random.key(0))
    step = quick_jit(make_train_step(method, optimiser, seed=0, total_steps=120))
    errors = []
    for _ in range(120):
        state, metrics = step(state, (), {"image": pictures()})
        errors.append(float(metrics["loss/reconstruction"]))
    plain = np.mean((pictures() / 255 - np.mean(pictures() / 255)) ** 2)
    assert errors[-1] < 0.4 * plain, (errors[::20], plain)


def test_the_published_recipe(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load("configs/vqgan.py")
    assert dict(config.scales) == {**TERMS, **CONTEST}
    optim = config.optim
    assert (optim.lr, optim.lr_per, optim.b1, optim.b2) == (1e-4, 0, 0.0, 0.99)
    assert optim.weight_decay == 0 and config.train.batch_size == 256
    assert (config.model.codes, config.model.codes_width, config.model.width) == (1024, 256, 128)
    assert tuple(config.model.levels) == (1, 1, 2, 2, 4) and config.model.blocks == 2
    _, method = build_method(config)
    assert method.net.grids == {"image": (16, 16)}

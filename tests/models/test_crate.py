"""CRATE-MAE: the official model's numbers, a step of ISTA per block, a third of the parameters."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from maskmim.config.load import load
from maskmim.evals.sparse_rate import coding_rate
from maskmim.interop.layout import arrays_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.models.crate import Sparsify, crate_mae, rules, subspace_coordinates
from maskmim.models.layers.compute import compute
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches
from maskmim.training.build import build_method
from maskmim.training.sharding import AXES, tree_shardings
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mean, Spec, View
from tests.comparing import close
from tests.golden.crate_mae import case
from tests.golden.official_weights import params_by_name
from tests.tolerances import PARITY

pytestmark = pytest.mark.full


@cache
def net():
    """Return the case's network."""
    side = (case.IMAGE, case.IMAGE)
    size = "x".join(map(str, case.SIZE))
    spec = Spec(side, 3, (0.0,) * 3, (1.0,) * 3)
    return crate_mae(spec, variant=size, patch=(case.PATCH, case.PATCH))


@cache
def official():
    """Return the case's params, and {official name: shape}."""
    ours = jax.eval_shape(net().init, jax.random.key(0))
    return params_by_name(case.layout(), ours, case.weight)


def mask_of():
    """Return the official mask of the case, in place."""
    mask = from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)
    every = jnp.broadcast_to(jnp.arange(mask.hidden.shape[1], dtype=jnp.int32), mask.hidden.shape)
    return mask._replace(visible=every)


@cache
def run_back():
    """Return the jitted ((loss, (Encoded, predictions)), gradients) of params and pictures."""
    network, mask = net(), mask_of()
    objective = match(head="pixels", target=normalised_patches, loss=squared_error)

    def run(params, pictures):
        batch = {"image": pictures}
        inputs = network.inputs(batch)
        encoded = network.encode(params, inputs, mask, capture=("embedded", "layers"))
        outputs = network.predict(params, encoded, mask)
        view = View(network, Context(batch, network.grids, {}), inputs, mask, encoded, outputs, {})
        per_token, weight, _, _ = objective.find(view)
        loss = Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value
        return loss, (encoded, outputs["pixels"])

    return jax.jit(jax.value_and_grad(run, has_aux=True))


def pictures():
    """Return the case's pictures, channels last."""
    return case.pictures().transpose(0, 2, 3, 1)


@pytest.mark.proves(48, "features, predictions, loss and all gradients equal the official model's")
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    params, theirs = official()
    (loss, (encoded, predictions)), gradients = run_back()(params, pictures())
    close(jnp.concatenate([encoded.prefix, encoded.tokens], 1), golden["latent"], PARITY, "latent")
    close(predictions, golden["predictions"], PARITY, "predictions")
    close(loss, golden["loss"], PARITY, "loss")
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    ours = arrays_of(case.layout(), gradients)
    expected = np.split(golden["gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), PARITY, name)
        assert np.any(ours[name]), name


@pytest.mark.proves(48, "coding rates and shares of zeros by block equal the official measurement")
def test_rates_and_zeros_equal_the_official_ones():
    golden = np.load(case.GOLDEN)
    params, _ = official()
    _, (encoded, _) = run_back()(params, pictures())[0]
    coordinates = subspace_coordinates(params, encoded)
    assert coordinates.shape == (2, case.EXAMPLES, 2, 17, 8)
    close(coding_rate(coordinates).mean(axis=1), golden["rates"], PARITY, "rates")
    close((encoded.layers == 0).mean(axis=(1, 2, 3)), golden["zeros"], PARITY, "zeros")
    few = coordinates[..., :5, :]
    longer = jnp.concatenate([few, jnp.zeros_like(few)], axis=-2)
    close(coding_rate(few, 0.02), coding_rate(longer), PARITY, "as many tokens as not")


@pytest.mark.proves(48, "pixels of hidden patches reach no feature and no prediction")
def test_hidden_pixels_change_nothing():
    params, _ = official()
    hidden = np.asarray(mask_of().hidden)[..., None]
    values = net().patchify(pictures())
    changed = net().restore(jnp.where(hidden, 3 - 2 * values, values))
    _, (encoded, predictions) = run_back()(params, pictures())[0]
    _, (other, same) = run_back()(params, changed)[0]
    np.testing.assert_array_equal(encoded.tokens, other.tokens)
    np.testing.assert_array_equal(predictions, same)
    seen = net().restore(jnp.where(hidden, values, 3 - 2 * values))
    assert np.abs(run_back()(params, seen)[0][1][1] - predictions).max() > 0.1


@pytest.mark.proves(48, "a block's ISTA step lowers its lasso objective, and a penalty empties it")
def test_sparsify_descends():
    """A step of at most 1 / |A|^2 cannot raise the objective; one that climbs would."""
    rng = np.random.default_rng(0)
    y = np.abs(rng.normal(size=(3, 5, 16))).astype(np.float32)
    a = rng.normal(0, 0.25, (16, 16)).astype(np.float32)
    step, penalty = 0.9 / np.linalg.norm(a, 2) ** 2, 0.3
    params = {"params": {"dictionary": a.T}}

    def sparsify(penalty):
        return np.asarray(Sparsify(step, penalty, jnp.float32).apply(params, y))

    def objective(z):
        return ((y - z @ a.T) ** 2).sum(-1) / 2 + penalty * np.abs(z).sum(-1)

    z = sparsify(penalty)
    assert (z >= 0).all() and (objective(z) < objective(y)).all()
    gradient = (y @ a.T - y) @ a
    close(z, np.maximum(y - step * gradient - step * penalty, 0), PARITY, "proximal step")
    shares = [np.mean(sparsify(weight) == 0) for weight in (0.0, 1.0, 100.0)]
    assert shares[0] < shares[1] < shares[2] == 1, shares


@pytest.mark.proves(
    48, "the base model has 44.3 million parameters less an unused layer, MAE 143.5"
)
def test_a_third_of_the_parameters():
    golden = np.load(case.GOLDEN)
    _, method = build_method(load("crate_mae"))
    leaves = jax.tree.leaves(jax.eval_shape(method.net.init, jax.random.key(0)))
    ours, (theirs, mae) = sum(leaf.size for leaf in leaves), golden["parameters"]
    assert ours == theirs - golden["unused"]
    assert 0.3 < ours / mae < 0.32


def test_masks_that_drop_tokens_are_refused():
    mask = mask_of()
    with pytest.raises(ModelError, match=r"wrap the sampler in maskmim.masks.roles.in_place"):
        net().encode(official()[0], pictures(), mask._replace(visible=mask.visible[:, :4]))


def test_unrolled_and_recomputed_blocks_give_the_same_loss():
    spec = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3)
    how = partial(compute, unroll=True, remat="full")
    other = crate_mae(spec, variant="2x16x2", patch=(4, 4), compute=how)
    params, mask = official()[0], mask_of()
    predict = jax.jit(
        lambda params: other.predict(params, other.encode(params, pictures(), mask), mask)
    )
    expected = run_back()(params, pictures())[0][1][1]
    close(predict(params)["pixels"], expected, PARITY, "predictions")


def test_parameters_are_drawn_and_split_as_they_should():
    spec = Spec((32, 32), 3, (0.0,) * 3, (1.0,) * 3)
    params = jax.jit(crate_mae(spec, variant="4x64x4", patch=(8, 8)).init)(jax.random.key(0))
    encoder, decoder = (params[part]["blocks"] for part in ("encoder", "decoder"))
    both = encoder["sparsify"]["dictionary"], decoder["dictionary"]["kernel"]
    for kernel, bound in (
        *((kernel, np.sqrt(6 / 64)) for kernel in both),
        (encoder["attention"]["subspaces"]["kernel"], np.sqrt(6 / 128)),
    ):
        assert 0.97 * bound < np.abs(kernel).max() <= bound
    assert not np.any(encoder["attention"]["out"]["bias"])
    places = dict(named_leaves(tree_shardings(params, rules(), AbstractMesh((2, 4, 1, 2), AXES))))
    for path in ("encoder/blocks/sparsify/dictionary", "decoder/blocks/dictionary/kernel"):
        assert tuple(places[path].spec) == (None, "fsdp", "tensor"), path
    for part in ("encoder", "decoder"):
        subspaces = places[f"{part}/blocks/attention/subspaces/kernel"].spec
        assert tuple(subspaces) == (None, "fsdp", "tensor", None)
    stacked = {path: place.spec for path, place in places.items() if "/blocks/" in path}
    assert not [path for path, spec in stacked.items() if len(spec) and spec[0]]

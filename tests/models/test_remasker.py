"""ReMasker: equal to the official model, and what missing cells and each loss reach."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses import squared_error
from maskmim.masks import missing
from maskmim.methods.masked import masked
from maskmim.models.layers.errors import ModelError
from maskmim.models.remasker import remasker
from maskmim.objectives import match, match_visible_head
from maskmim.targets import pixels
from maskmim.teachers.given import given
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Randomness, Spec, Variables
from tests.comparing import close
from tests.golden.official_weights import params_by_name
from tests.golden.remasker import case

full = pytest.mark.full

SPEC = Spec((case.COLUMNS,), 1, (0.0,), (1.0,), "table", "float32")
TERMS = ("hidden", "shown")
RANDOMNESS = Randomness.of(jax.random.key(0), case.TRAINED)


@cache
def method():
    """ReMasker at the case's size, composed as the config does."""
    pair = {"target": pixels.patches, "loss": squared_error}
    return masked(
        SPEC,
        model=partial(
            remasker,
            variant="x".join(map(str, case.ENCODER)),
            decoder="x".join(map(str, case.DECODER)),
        ),
        mask=partial(missing.observed_first, ratio=case.RATIO),
        objectives={
            "hidden": partial(match, head="cells", **pair),
            "shown": partial(match_visible_head, head="shown", **pair),
        },
        teachers={"data": partial(given, names=("missing",))},
    )


@cache
def official_params():
    """The official weights as our params, and {official name: shape}."""
    shapes = jax.eval_shape(method().net.init, jax.random.key(0))
    return params_by_name(case.layout(), shapes, case.weight)


def batch(count: int = case.ROWS, standing: float = 0.0) -> dict[str, np.ndarray]:
    """The first rows of the case, a value standing where cells are missing."""
    cells = np.nan_to_num(case.rows(), nan=standing)[:count, :, None]
    return {"table": cells, "missing": case.missing()[:count]}


@cache
def training():
    """Return a jitted function of (params, batch): mask, outputs, losses, gradients of each."""
    net = method().net

    @jax.jit
    def run(params, batch):
        def terms(params):
            variables = Variables(params, {"data": ()}, {"data": ()})
            losses = method().loss(variables, batch, RANDOMNESS, 0.0)
            return jnp.stack([losses.terms[name].value for name in TERMS])

        context = Context(batch, net.grids, {"missing": batch["missing"]})
        mask = missing.observed_first(RANDOMNESS, context, ratio=case.RATIO)
        outputs = net.predict(params, net.encode(params, net.inputs(batch), mask), mask)
        values, pull = jax.vjp(terms, params)
        each = jax.vmap(lambda weights: pull(weights)[0])(jnp.eye(len(TERMS)))
        return mask, outputs, values, each

    return run


@cache
def outcome():
    """What the program gives for the official weights and noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(missing, "random_scores", lambda *_: jnp.asarray(1 - case.noise()))
        return jax.tree.map(np.asarray, training()(official_params()[0], batch(case.TRAINED)))


@cache
def imputing():
    return jax.jit(method().net.calls["impute"])


@full
@pytest.mark.proves(47, "predictions, the loss and all gradients equal the official model's")
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    mask, outputs, values, each = outcome()
    rows = np.arange(case.TRAINED)[:, None]
    for head, places in (("cells", mask.predict), ("shown", mask.visible)):
        close(outputs[head][..., 0], golden["predictions"][rows, places], name=head)
    close(values.sum(), golden["loss"], name="loss")
    theirs = official_params()[1]
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    ours = arrays_of(case.layout(), jax.tree.map(lambda leaf: leaf.sum(axis=0), each))
    expected = np.split(golden["gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), name=name)
        assert np.any(ours[name]), name


@full
@pytest.mark.proves(47, "cells imputed in one batch equal the official ones, imputed row by row")
def test_imputes_as_the_official_code_does_row_by_row():
    imputed = np.asarray(imputing()(official_params()[0], batch()))
    gaps = case.missing()
    np.testing.assert_array_equal(imputed[~gaps], case.rows()[~gaps])
    close(imputed[gaps], np.load(case.GOLDEN)["imputed"][gaps], name="missing cells")


@full
@pytest.mark.proves(47, "what stands in place of missing cells changes nothing, bit for bit")
def test_missing_cells_reach_nothing():
    params = official_params()[0]
    zeros, others = (np.asarray(imputing()(params, batch(standing=x))) for x in (0.0, 7.0))
    np.testing.assert_array_equal(zeros, others)
    mask, outputs, values, each = outcome()
    again = training()(params, batch(case.TRAINED, standing=7.0))
    np.testing.assert_array_equal(again[0].visible, mask.visible)
    np.testing.assert_array_equal(again[1]["cells"], outputs["cells"])
    np.testing.assert_array_equal(again[2], values)
    jax.tree.map(np.testing.assert_array_equal, again[3], each)


@full
@pytest.mark.proves(47, "a row of too few observed cells is shown those alone, and teaches them")
def test_rows_with_few_observed_cells():
    """Other rows of the batch, which fill up the static shape, must not matter either."""
    rows = {name: array[-1:].repeat(3, axis=0) for name, array in batch().items()}
    mask, outputs, values, _ = training()(official_params()[0], rows)
    assert values[0] == 0  # nothing is left to re-mask
    shown = np.asarray(outputs["shown"])[..., 0]
    seen = ~np.take_along_axis(rows["missing"], np.asarray(mask.visible), axis=1)
    assert seen.sum(axis=1).tolist() == [2, 2, 2] and mask.visible.shape[1] == 4
    true = np.take_along_axis(rows["table"][..., 0], np.asarray(mask.visible), axis=1)
    close(values[1], np.mean((shown - true)[seen] ** 2), name="shown")


@full
@pytest.mark.proves(47, "re-masked and shown cells both teach the encoder and the decoder")
def test_each_loss_reaches_everything():
    for path, leaf in named_leaves(outcome()[3]):
        of_hidden, of_shown = (np.any(each) for each in leaf)
        assert of_hidden and of_shown, path


def test_the_published_recipe(tmp_path):
    config = load("remasker")
    assert (config.train.epochs, config.train.batch_size, config.mask.ratio) == (600, 64, 0.5)
    assert (config.optim.lr, config.optim.lr_per, config.optim.b2) == (1e-3, 64, 0.95)
    assert (config.optim.weight_decay, config.optim.no_decay) == (0.01, ())
    assert (config.schedule.warmup_epochs, config.schedule.final) == (40, 0.01)
    assert (config.model.variant, config.model.decoder) == ("6x32x4", "4x32x4")
    assert load("remasker:size=letter").model.variant == "8x64x4"
    file = tmp_path / "table.csv"
    file.write_text("a,b,kind\n1,2,x\n3,,y\n")
    of_file = load(f"remasker:path={file},label=kind,remove=0.3,mechanism=mar")
    assert of_file.input.size == (2,) and of_file.input.fields.missing.shape == (2,)
    assert of_file.evals.test == of_file.data.train and of_file.data.train.remove == 0.3


def test_pictures_are_refused():
    with pytest.raises(ModelError, match="one value for each column"):
        remasker(Spec((8, 8), 3, (0.0,) * 3, (1.0,) * 3))

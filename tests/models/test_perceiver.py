"""SMA's Perceiver: equal to the official model, masks of its own attention, hidden tokens."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config import facts
from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses import squared_error
from maskmim.masks import self_attention
from maskmim.masks.core import from_scores
from maskmim.methods.masked import masked
from maskmim.models.layers.errors import ModelError
from maskmim.models.perceiver import perceiver
from maskmim.objectives import classify, match
from maskmim.targets import pixels, tokens
from maskmim.teachers.current import current
from maskmim.teachers.query_attention import query_attention
from maskmim.types import Context, Randomness, Spec, Variables, random_key
from tests.comparing import close
from tests.golden.official_weights import params_by_name
from tests.golden.sma import case

full = pytest.mark.full
kinds = pytest.mark.parametrize("kind", case.KINDS)

SPECS = {
    "amounts": Spec((case.LENGTH,), case.CHANNELS, (0.0,) * 2, (1.0,) * 2, "row", "float32"),
    "indices": Spec((case.LENGTH,), 1, (), (), "row", "int32", classes=case.VOCABULARY),
}
OBJECTIVES = {
    "amounts": partial(match, head="values", target=pixels.patches, loss=squared_error),
    "indices": partial(classify, head="tokens", target=tokens.tokens),
}
SIZES = {
    "latents": case.LATENTS,
    "width": case.WIDTH,
    "depth": case.DEPTH,
    "heads": case.HEADS,
    "read_heads": case.READ_HEADS,
    "embedding": case.EMBEDDING,
    "decoder_width": case.EMBEDDING,
    "decoder_heads": case.DECODER_HEADS,
}
RANDOMNESS = Randomness.of(random_key(0), case.EXAMPLES)


@facts.sampler(needs=("token_attention",))
def officially_chosen(randomness, context):
    """The end of SMA's warm-in with the queries that the official code drew."""
    attention, hidden = context.hints["token_attention"], round(case.RATIO * case.LENGTH)
    score = jax.vmap(partial(self_attention.window_scores, width=hidden))
    scores = score(attention, jnp.asarray(case.chosen()), jnp.zeros(attention.shape[::2]))
    return from_scores(scores, ratio=case.RATIO)


@cache
def method(kind: str):
    """SMA at the case's size, composed as the config does."""
    return masked(
        SPECS[kind],
        model=partial(perceiver, **SIZES),
        mask=officially_chosen,
        objectives={"hidden": OBJECTIVES[kind]},
        teachers={"itself": partial(current, find=query_attention)},
    )


@cache
def official_params(kind: str):
    """The official weights as our params, and {official name: shape}."""
    shapes = jax.eval_shape(method(kind).net.init, random_key(0))
    return params_by_name(case.layout(kind), shapes, case.weight)


@cache
def training(kind: str):
    """A jitted function of (params, row): mask, predictions, loss, gradients, latents."""
    net = method(kind).net

    @jax.jit
    def run(params, row):
        batch = {"row": row}

        def loss(params):
            variables = Variables(params, {"itself": ()}, {"itself": ()})
            return method(kind).loss(variables, batch, RANDOMNESS, 0.0).terms["hidden"].value

        hints = query_attention(net, params, Context(batch, net.grids, {}))
        mask = officially_chosen(RANDOMNESS, Context(batch, net.grids, hints))
        predictions = net.predict(params, net.encode(params, net.inputs(batch), mask), mask)
        whole = net.encode(params, net.inputs(batch), None)
        return mask, next(iter(predictions.values())), *jax.value_and_grad(loss)(params), whole

    return run


@cache
def outcome(kind: str):
    """What the program gives for the official weights."""
    found = training(kind)(official_params(kind)[0], case.inputs(kind))
    return jax.tree.map(np.asarray, found)


@full
@kinds
@pytest.mark.proves(17, "its own logits give the official hidden tokens, predictions and latents")
def test_equals_the_official_model(kind):
    golden = np.load(case.GOLDEN)
    mask, predictions, loss, _, whole = outcome(kind)
    np.testing.assert_array_equal(mask.hidden, golden[f"{kind}_hidden"])
    rows = np.arange(case.EXAMPLES)[:, None]
    close(predictions, golden[f"{kind}_predictions"][rows, mask.predict], name="predictions")
    close(loss, golden[f"{kind}_loss"], name="loss")
    close(whole.tokens, golden[f"{kind}_latents"], name="latents of whole inputs")


@full
@kinds
@pytest.mark.proves(17, "all gradients equal the official model's: none passes the choice")
def test_gradients_are_the_official_ones(kind):
    layout, theirs = case.layout(kind), official_params(kind)[1]
    ours = arrays_of(layout, outcome(kind)[3])
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    expected = np.split(np.load(case.GOLDEN)[f"{kind}_gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), name=name)
        assert np.any(ours[name]), name


@full
@pytest.mark.proves(17, "hidden tokens reach no prediction, visible ones do")
def test_hidden_tokens_reach_nothing():
    net, (params, _), row = (
        method("amounts").net,
        official_params("amounts"),
        case.inputs("amounts"),
    )
    mask = jax.tree.map(jnp.asarray, outcome("amounts")[0])

    @jax.jit
    def predict(row):
        return net.predict(params, net.encode(params, net.inputs({"row": row}), mask), mask)

    first = predict(row)["values"]
    hidden = np.asarray(mask.hidden)[..., None]
    np.testing.assert_array_equal(first, predict(np.where(hidden, 7.0, row).astype("f4"))["values"])
    changed = np.asarray(predict(np.where(hidden, row, row + 1).astype("f4"))["values"])
    assert (np.abs(changed - first).max(axis=(1, 2)) > 1e-3).all()


@full
@pytest.mark.proves(17, "equal logits give equal masks, whatever the rest of the network")
def test_masks_follow_the_logits_alone():
    params, row = official_params("amounts")[0], case.inputs("amounts")

    def hidden(part: str, name: str) -> np.ndarray:
        """Hidden tokens of a network of which one part is another one."""
        other = jax.tree.map(lambda leaf: np.roll(leaf, 1, axis=-1), params[part][name])
        changed = {**params, part: {**params[part], name: other}}
        return np.asarray(training("amounts")(changed, row)[0].hidden)

    same = outcome("amounts")[0].hidden
    for part, name in (("encoder", "blocks"), ("decoder", "read"), ("decoder", "positions")):
        np.testing.assert_array_equal(hidden(part, name), same)
    for name in ("latents", "tokens"):
        assert (hidden("encoder", name) != same).any(), name


def test_unfit_inputs_and_sizes_are_refused():
    with pytest.raises(ModelError, match="a token of indices is one index"):
        perceiver(SPECS["indices"], patch=(2,))
    with pytest.raises(ModelError, match="a sequence of indices"):
        perceiver(Spec((4, 4), 1, (), (), "map", "uint8", classes=3), patch=(1, 1))
    for unfit, part in (
        ({"heads": 3}, "the latents"),
        ({"read_heads": 3}, "the reading of tokens"),
        ({"decoder_heads": 3}, "the decoder"),
    ):
        with pytest.raises(ModelError, match=f"{part}: 3 heads do not divide"):
            perceiver(SPECS["amounts"], **{**SIZES, **unfit})


def test_the_published_recipes(tmp_path):
    table, pictures = load("sma"), load("sma:kind=pictures")
    assert (table.train.epochs, table.train.batch_size, table.input.size) == (50, 256, (28,))
    assert (table.optim.lr, table.optim.lr_per, table.optim.b2) == (1e-4, 0, 0.999)
    assert (table.optim.weight_decay, table.optim.clip_norm) == (0.01, 1.0)
    assert (table.mask.ratio, table.mask.until, table.mask.initial) == (0.2, 0.25, 1.0)
    assert (pictures.train.epochs, pictures.train.batch_size) == (200, 128)
    assert (pictures.mask.ratio, pictures.mask.per_query, pictures.mask.until) == (0.5, 576, 0)
    assert (pictures.input.size, pictures.model.patch) == ((192, 192), (1, 1))
    assert round(pictures.schedule.warmup_epochs * 126_689 / 128) == 5000
    assert (load("sma:kind=text").mask.ratio, load("sma:kind=text").input.size) == (0.15, (1024,))
    random = load("sma:mask=random")
    assert random.mask.ratio == 0.2 and "per_query" not in random.mask and not random.teachers
    file = tmp_path / "table.csv"
    file.write_text("a,b,c,kind\n1,2,3,x\n3,4,5,y\n")
    of_file = load(f"sma:path={file},label=kind")
    assert of_file.input.size == (3,) and of_file.evals.at_end == ("knn", "linear_probe")

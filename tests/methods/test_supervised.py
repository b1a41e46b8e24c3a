"""Training on labels: the loss against torch, what is mixed, and what it does not depend on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from maskmim.losses import smoothed_cross_entropy
from maskmim.methods.erasing import random_erasing
from maskmim.methods.masked import MethodError
from maskmim.methods.mixing import Mixed, mixup_or_cutmix, partners
from maskmim.methods.supervised import supervised
from maskmim.models.classifiers import normed_linear
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.layers.errors import ModelError
from maskmim.objectives import soft_label
from maskmim.training.train_step import make_train_step
from maskmim.types import Randomness
from tests.tiny import SPEC, begin, pictures
from tests.tolerances import PARITY, REORDERED

EXAMPLES, CLASSES = 8, 6
LABELS = np.array([0, 5, -1, 3, 3, 1, -1, 2], np.int32)
SHARE = np.array([0.2, 0.9, 0.4, 1.0, 0.3, 0.6, 0.7, 0.5], np.float32)
MODEL = partial(vit_encoder, variant="2x16x2", patch=(8, 8), last_norm=False)


def build(**changes):
    options = {
        "model": MODEL,
        "objectives": {
            "kind": partial(
                soft_label, labels="kind", loss=partial(smoothed_cross_entropy, smoothing=0.1)
            )
        },
        "calls": {"classify": partial(normed_linear, classes=CLASSES, std=0.5)},
    }
    return supervised(SPEC._replace(labels={"kind": CLASSES}), **{**options, **changes})


def batch():
    return {
        "image": jnp.asarray(pictures(EXAMPLES)),
        "label": {"kind": jnp.asarray(LABELS)},
    }


def given_mix(randomness, inputs):
    share = jnp.asarray(SHARE)
    rows = share.reshape(-1, 1, 1, 1)
    return Mixed(rows * inputs + (1 - rows) * partners(inputs), share)


def in_torch(method, variables, mixes):
    """MAE's head on features of our encoder, and timm's loss, mixed by hand."""
    inputs = np.asarray(method.net.inputs(batch()))
    other = np.roll(np.arange(EXAMPLES), -EXAMPLES // 2)
    share = SHARE[:, None, None, None] if mixes else 1.0
    tokens = method.net.encode(
        variables.params, jnp.asarray(share * inputs + (1 - share) * inputs[other]), None
    ).tokens
    head = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), variables.params["classify"])
    pooled = torch.tensor(np.asarray(tokens)).mean(1)
    normed = torch.nn.functional.layer_norm(
        pooled, pooled.shape[1:], head["norm"]["scale"], head["norm"]["bias"], 1e-6
    )
    logits = normed @ head["kernel"] + head["bias"]
    rows = torch.nn.functional.one_hot(torch.tensor(LABELS).long().clamp(0), CLASSES).float()
    rows = rows * (torch.tensor(LABELS) >= 0)[:, None]
    share = torch.tensor(SHARE)[:, None] if mixes else 1.0
    target = share * rows + (1 - share) * rows[other]
    weight = target.sum(1)
    smooth = 0.9 * target / weight.clamp(1e-6)[:, None] + 0.1 / CLASSES
    losses = -(smooth * torch.log_softmax(logits, 1)).sum(1)
    return ((losses * weight).sum() / weight.sum()).item()


@pytest.mark.parametrize("mixes", [False, True])
def test_the_loss_equals_torch(mixes):
    method = build(mix=given_mix if mixes else None)
    variables = method.variables(jax.random.key(0))
    losses = method.loss(variables, batch(), Randomness.of(jax.random.key(1), EXAMPLES), 0.0)
    expected = in_torch(method, variables, mixes)
    assert float(losses.terms["kind"].value) == pytest.approx(expected, rel=PARITY)
    assert set(losses.metrics) == {"kind/accuracy", "kind/top5"}


@pytest.mark.full
def test_a_step_is_the_same_in_micro_batches():
    method = build(
        model=partial(MODEL, drop_path=0.4),
        mix=partial(mixup_or_cutmix, per="example"),
        erase=partial(random_erasing, chance=0.5),
    )
    optimiser = optax.sgd(1.0)
    found = []
    for parts in (1, 2):
        step = make_train_step(method, optimiser, seed=0, total_steps=9, micro_batches=parts)
        state, frozen = begin(method, optimiser)
        found.append(jax.jit(step)(state, frozen, batch()))
    (one, metrics), (other, others) = found
    assert float(metrics["loss"]) == pytest.approx(float(others["loss"]), rel=REORDERED)
    trees = map(jax.tree.leaves, (one.params, other.params, state.params))
    for a, b, c in zip(*trees, strict=True):
        np.testing.assert_allclose(a - c, b - c, atol=REORDERED * (np.abs(a - c).max() + 1e-3))


def test_evaluation_sees_whole_examples_and_a_sheet_what_is_trained_on():
    method = build(mix=given_mix, erase=partial(random_erasing, chance=1.0))
    variables = method.variables(jax.random.key(0))
    plain = build()
    for name in ("encode", "evaluated"):
        assert name in method.apply
    one, other = (m.apply["encode"](variables, batch()).tokens for m in (method, plain))
    np.testing.assert_array_equal(one, other)
    drawn = Randomness.of(jax.random.key(1), EXAMPLES)
    assert not bool(method.apply["mask"](variables, batch(), drawn)["mask"].hidden.any())
    sheet = method.sheets["trained_on"](variables, batch(), drawn)
    np.testing.assert_array_equal(sheet["input"], batch()["image"])
    assert np.any(sheet["trained on"] != sheet["input"])
    assert plain.sheets == {} and plain.does == "training on labels"
    assert [line for line, _ in method.chain][1:3] == ["erased by", "mixed by"]


def test_refuses_what_does_not_fit():
    with pytest.raises(MethodError, match="calls classify"):
        build(calls={})
    with pytest.raises(MethodError, match="empty"):
        build(objectives={})
    extra = {"classify": partial(normed_linear, classes=CLASSES)}
    method = build(calls={**extra, "other": partial(normed_linear, classes=2)})
    variables = method.variables(jax.random.key(0))
    with pytest.raises(ModelError, match=r"calls\.other"):
        method.loss(variables, batch(), Randomness.of(jax.random.key(1), EXAMPLES), 0.0)

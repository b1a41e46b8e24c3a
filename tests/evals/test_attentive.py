"""Attentive probes on planted tokens, and the same numbers whether tokens are kept or not."""

from functools import partial

import jax
import numpy as np
import pytest

from maskmim.evals.attentive import attentive, attentive_efficient
from maskmim.evals.attentive_heads import cross_attention_head, efficient_head
from maskmim.evals.attentive_training import Trainer, score_learners, train_learners
from maskmim.evals.patch_tokens import PatchTokens, kept_tokens, streamed_tokens
from maskmim.evals.probe_optimisers import adamw, lars
from maskmim.evals.probe_training import Plan
from maskmim.masks.uniform import random
from tests.evals.small import source_of, trained_on
from tests.evals.test_lidar import OneBad
from tests.tiny import pictures, tiny_method

CLASSES, WIDTH, PATCHES = 4, 16, 6


def planted(count, seed=0):
    """Tokens of which one, at a random place, says the class; their mean says little."""
    centres = 4 * np.random.default_rng(9).normal(size=(CLASSES, WIDTH))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count).astype("i4")
    rows = 2 * rng.normal(size=(count, PATCHES, WIDTH))
    rows[np.arange(count), rng.integers(0, PATCHES, count)] = centres[labels]
    rows = rows.astype("f2")

    def read(indices, size):
        for start in range(0, len(indices), size):
            chosen = indices[start : start + size]
            yield rows[np.pad(chosen, (0, size - len(chosen)), mode="edge")]

    return PatchTokens({"kind": labels}, read)


@pytest.mark.parametrize(
    ("head", "solver", "rates"),
    [(cross_attention_head(8), adamw, (1e-9, 1e-2)), (efficient_head(4), lars, (1e-9, 10.0))],
)
def test_the_token_that_says_the_class_is_found(head, solver, rates):
    train, test = planted(512), planted(300, seed=1)
    trainer = Trainer(head, solver, Plan(64, 8, 15, 0.0))
    rates = {"kind": np.array(rates, "f4")}
    learners = train_learners(
        trainer, train, np.arange(512), rates, {"kind": CLASSES}, WIDTH, seed=0
    )
    top1, loss = score_learners(head, learners, test, np.arange(300), 128)["kind"]
    assert top1[1] > 0.9 > 0.5 > top1[0] and loss[1] < 0.5 < loss[0]
    again, _ = score_learners(head, learners, test, np.arange(300), 7)["kind"]
    np.testing.assert_array_equal(again, top1)


@pytest.fixture(scope="module")
def method():
    return tiny_method(mask=partial(random, ratio=0.5))


@pytest.fixture(scope="module")
def trained(method):
    """A method with weights that are not trained, and 40 pictures of which one cannot be read."""
    sound = source_of(pictures(40), size=16)
    torn = source_of(pictures(40), size=16, records=OneBad(sound.records))
    variables = method.variables(jax.random.key(0))
    return trained_on(method=method, variables=variables, train=torn, test=sound)


@pytest.mark.full
def test_kept_and_streamed_tokens_are_the_same(trained):
    kept, streamed = (make(trained, trained.train) for make in (kept_tokens, streamed_tokens))
    assert kept.count == streamed.count == 39
    np.testing.assert_array_equal(kept.labels["kind"], streamed.labels["kind"])
    order = np.random.default_rng(0).permutation(39)[:22]
    batches = zip(kept.read(order, 8), streamed.read(order, 8), strict=True)
    for one, other in batches:
        assert one.shape == (8, 12, 32) and one.dtype == np.float16
        np.testing.assert_allclose(one, other, atol=2e-3)


@pytest.mark.full
@pytest.mark.parametrize("probe", [attentive, partial(attentive_efficient, queries=4)])
def test_a_probe_yields_its_numbers_with_any_memory(trained, probe):
    run = partial(probe, trained, epochs=12, least_steps=4)
    found = [list(run(memory_gb=memory)) for memory in (1.0, 0.0)]
    title = getattr(probe, "func", probe).__name__
    names = [f"{title}/kind/{each}" for each in ("top1", "lr", "held_out")]
    assert [measured.name for measured in found[0]] == names
    one, other = ({m.name: m.value for m in each} for each in found)
    assert one == pytest.approx(other, abs=0.06)
    assert 0.3 <= one[names[0]] <= 1.0

"""Objectives on mixed labels and on several labels at once, against torch."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.objectives import binary_labels, label, soft_label
from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.soft_labels import class_shares, hint_of
from maskmim.types import Context, Encoded, View
from tests.tolerances import PARITY

EXAMPLES, WIDTH, CLASSES = 9, 5, 7
RNG = np.random.default_rng(0)
TOKENS = RNG.normal(size=(EXAMPLES, 3, WIDTH)).astype(np.float32)
KERNEL = RNG.normal(size=(WIDTH, CLASSES)).astype(np.float32)
LABELS = RNG.integers(0, CLASSES, EXAMPLES).astype(np.int32)
LABELS[[2, 5]] = -1
SETS = ("red", "round", "ripe")
ENTRIES = {name: RNG.integers(-1, 2, EXAMPLES).astype(np.int32) for name in SETS}


def view_of(labels, declared, kernel=KERNEL, hints=None):
    net = SimpleNamespace(calls={"classify": lambda params, features: features @ params})
    arrays = {"label": {name: jnp.asarray(each) for name, each in labels.items()}}
    context = Context(arrays, {}, hints or {}, labels=declared)
    prefix = jnp.zeros((EXAMPLES, 0, WIDTH))
    return View(net, context, None, None, Encoded(prefix, TOKENS), {}, (), jnp.asarray(kernel))


def mean_of(found):
    per_example, weight, metrics, _ = found
    total = float(jnp.sum(per_example * weight) / jnp.sum(weight))
    return total, {name: float(value.value) for name, value in metrics.items()}


def logits():
    return torch.tensor(TOKENS.mean(1)) @ torch.tensor(KERNEL)


def test_unmixed_labels_are_those_of_label():
    view = view_of({"kind": LABELS}, {"kind": CLASSES})
    expected, metrics = mean_of(label(labels="kind").find(view))
    found, soft_metrics = mean_of(soft_label(labels="kind").find(view))
    assert found == pytest.approx(expected, rel=PARITY)
    assert soft_metrics["accuracy"] == metrics["accuracy"]
    known = torch.tensor(LABELS) >= 0
    likeliest = logits().topk(5).indices == torch.tensor(LABELS)[:, None]
    assert soft_metrics["top5"] == pytest.approx(likeliest.any(1)[known].float().mean().item())


def test_mixed_labels_equal_torch_and_unlabelled_shares_weigh_nothing():
    share = RNG.uniform(size=(EXAMPLES, 1)).astype(np.float32)
    rows = np.asarray(class_shares(jnp.asarray(LABELS), CLASSES))
    mixed = share * rows + (1 - share) * np.roll(rows, 1, axis=0)
    hints = {hint_of("kind"): jnp.asarray(mixed)}
    view = view_of({"kind": LABELS}, {"kind": CLASSES}, hints=hints)
    found, _ = mean_of(soft_label(labels="kind").find(view))
    target = torch.tensor(mixed)
    expected = -(target * torch.log_softmax(logits(), 1)).sum() / target.sum()
    assert 0 < target.sum() < EXAMPLES
    assert found == pytest.approx(expected.item(), rel=PARITY)


def test_several_labels_equal_torch_on_known_entries():
    view = view_of(ENTRIES, dict.fromkeys(SETS, 2), KERNEL[:, :3])
    found, metrics = mean_of(binary_labels(labels=SETS).find(view))
    wanted = torch.tensor(np.stack([ENTRIES[name] for name in SETS], 1)).float()
    known, given = wanted >= 0, logits()[:, :3]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(given[known], wanted[known])
    assert found == pytest.approx(expected.item(), rel=PARITY)
    right = ((given > 0) == (wanted > 0.5))[known].float().mean()
    assert metrics["accuracy"] == pytest.approx(right.item())
    assert not known.all()


@pytest.mark.parametrize(
    ("objective", "declared", "message"),
    [
        (soft_label(labels="kinds"), {"kind": CLASSES}, "did you mean 'kind'"),
        (soft_label(labels="kind"), {"kind": 4}, "classes=4"),
        (binary_labels(labels=("kind",)), {"kind": CLASSES}, "sets of two"),
        (binary_labels(labels=("kind",)), {"kind": 2}, "classes=1"),
    ],
)
def test_refuses_what_does_not_fit(objective, declared, message):
    with pytest.raises(ObjectiveError, match=message):
        objective.find(view_of({"kind": LABELS}, declared))

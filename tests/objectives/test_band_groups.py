"""The loss of groups of bands against loops over bands in numpy."""

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.masks.core import from_hidden
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.band_groups import band_groups, file_order
from maskmim.types import Context, Net, View
from tests.comparing import close

GROUPS = {"image": (0, 4, 1), "other": (2, 3)}
GRIDS = {"image": (2, 2), "other": (2, 2)}
RNG = np.random.default_rng(0)
HIDDEN = RNG.permuted(np.tile(np.arange(8) < 5, (3, 1)), axis=1)


def tokens(seed):
    """Tokens by group, f32[3, 4, 6 values of each band]."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal((3, 4, 6 * len(chosen))).astype(np.float32)
        for name, chosen in GROUPS.items()
    }


def loss_of(objective):
    net = Net(GRIDS, 6, lambda key: {}, *[None] * 6)._replace(patchify=lambda inputs: inputs)
    mask = from_hidden(jnp.asarray(HIDDEN), count=5)
    view = View(net, Context({}, GRIDS, {}), tokens(1), mask, None, tokens(2), {})
    per_token, weight, _, _ = objective.find(view)
    return float((per_token * weight).sum() / weight.sum())


def expected(predicted):
    target, output = tokens(1), tokens(2)
    place = {b: (n, i) for n, some in GROUPS.items() for i, b in enumerate(some)}
    head = {b: (n, i) for n, some in predicted.items() for i, b in enumerate(some)}
    hidden = dict(zip(GROUPS, np.split(HIDDEN, 2, axis=1), strict=True))
    total = count = 0
    for group, chosen in GROUPS.items():
        for example, token in zip(*np.nonzero(hidden[group]), strict=True):
            errors = []
            for band in chosen:
                (source, i), (teller, j) = place[band], head[band]
                wanted = target[source][example, token, i :: len(GROUPS[source])]
                told = output[teller][example, token, j :: len(GROUPS[teller])]
                errors.append(np.mean((wanted.astype(float) - told) ** 2))
            total, count = total + np.mean(errors), count + 1
    return total / count


def test_heads_predict_their_own_groups():
    close(loss_of(band_groups(groups=GROUPS)), expected(GROUPS), name="loss")


@pytest.mark.proves(86, "the released pairing: heads predict the bands in the order of the file")
def test_heads_predict_in_the_order_of_the_file():
    order = file_order(GROUPS)
    assert order == {"image": (0, 1, 2), "other": (3, 4)}
    found = loss_of(band_groups(groups=GROUPS, predicted=order))
    close(found, expected(order), name="loss")
    assert abs(found - expected(GROUPS)) > 0.01


@pytest.mark.parametrize(
    "predicted",
    [
        {"image": (0, 4), "other": (1, 2, 3)},
        {"image": (0, 4, 4), "other": (2, 3)},
        {"image": (0, 4, 1)},
    ],
)
def test_heads_that_do_not_predict_every_band_once_are_refused(predicted):
    with pytest.raises(ModelError, match="every band once"):
        band_groups(groups=GROUPS, predicted=predicted)

"""Views that predict an average's features, run with the weights of a case of official arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import NamedTuple

import jax
import numpy as np

from maskmim.interop.layout import arrays_of
from maskmim.targets.features import layer_normed_features
from maskmim.types import Array, Mask, Net, Tree, Variables
from tests.comparing import close
from tests.golden.official_weights import params_by_name


class Recorded(NamedTuple):
    """A network and a target, and what passes through them, in the order of the calls.

    passes: masks of the encoder's passes. predictions: of the head 'features'.
    """

    net: Net
    target: Callable
    passes: list[Mask | None]
    predictions: list[Array]
    targets: list[Array]

    def clear(self) -> None:
        """Forget what has passed."""
        for record in (self.passes, self.predictions, self.targets):
            record.clear()


def recorded(net: Net) -> Recorded:
    """Return a network and the target `layer_normed_features` that record."""
    passes, predictions, targets = [], [], []

    def encode(params, inputs, mask, **options):
        passes.append(mask)
        return net.encode(params, inputs, mask, **options)

    def predict(*arguments, **options):
        outputs = net.predict(*arguments, **options)
        predictions.append(outputs["features"])
        return outputs

    def target(view):
        targets.append(layer_normed_features(view))
        return targets[-1]

    target.__dict__.update(layer_normed_features.__dict__)  # what it needs
    recording = net._replace(encode=encode, predict=predict)
    return Recorded(recording, target, passes, predictions, targets)


def official_variables(case: ModuleType, net: Net) -> Variables:
    """Return the case's weights as params, and as average of the encoder."""
    ours = jax.eval_shape(net.init, jax.random.key(0))
    student, _ = params_by_name(case.layout(), ours, case.weight)
    kept, _ = params_by_name(case.layout(), ours, partial(case.weight, of="average"))
    return Variables(student, {"average": {"encoder": kept["encoder"]}}, {"average": ()})


def check_gradients(case: ModuleType, params: Tree, extra: Tree) -> None:
    """Compare gradients to params with the recorded ones; none is 0, all to the average are."""
    ours = arrays_of(case.layout(), params)
    recorded_ones = np.load(case.GOLDEN)["gradients"]
    theirs = np.split(recorded_ones, np.cumsum([a.size for a in ours.values()])[:-1])
    for (name, gradient), expected in zip(ours.items(), theirs, strict=True):
        close(gradient.reshape(-1), expected, name=name)
        assert np.any(gradient), name
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(extra))

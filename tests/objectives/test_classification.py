"""The head of an objective has the classes of the hint that it predicts."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from maskmim.config.load import load
from maskmim.objectives.classification import ObjectiveError, classify
from maskmim.planning.cost import product_flops_per_example
from maskmim.targets.codes import codes
from maskmim.training.build import assemble
from maskmim.types import Context, Mask


def view(width, classes):
    """A view of two examples of four tokens, three of them predicted."""
    hints = {"codes": jnp.array([[0, 1, 2, 0], [2, 2, 1, 0]])}
    predict = jnp.array([[0, 1, 2], [1, 2, 3]])
    mask = Mask(jnp.zeros((2, 1), int), predict, jnp.ones((2, 4), bool), jnp.ones((2, 3)))
    context = Context({}, {"image": (2, 2)}, hints, 0.0, classes)
    outputs = {"tokens": jnp.zeros((2, 3, width))}
    return SimpleNamespace(context=context, mask=mask, outputs=outputs)


@pytest.mark.parametrize("classes", [{"codes": 3}, {}])
def test_the_right_width_is_taken(classes):
    loss, weight, _, _ = classify(head="tokens", target=codes).find(view(3, classes))
    assert loss.shape == weight.shape == (2, 3)


@pytest.mark.parametrize("width", [2, 4])
def test_another_width_is_an_error(width):
    with pytest.raises(ObjectiveError, match=f"'tokens' tells {width} classes .* 'codes' has 3"):
        classify(head="tokens", target=codes).find(view(width, {"codes": 3}))


def test_a_config_with_another_width_is_an_error():
    config = load("cae:tiny", ["model.heads.tokens=5"])
    with pytest.raises(ObjectiveError, match="to 16"):
        product_flops_per_example(config, assemble(config, 296))

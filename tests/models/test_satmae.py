"""SatMAE's groups of bands against the official model, and what its heads predict."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.interop.layout import arrays_of
from maskmim.masks.core import from_hidden
from maskmim.models.satmae import satmae
from maskmim.objectives.band_groups import band_groups, file_order
from maskmim.types import Context, Mean, View
from tests.comparing import close
from tests.golden.official_weights import params_by_name
from tests.golden.satmae import case

pytestmark = pytest.mark.full


@cache
def official_net():
    """Return (our network, params with the official weights, {official name: shape})."""
    depth, width, heads = case.ENCODER
    net = satmae(
        case.spec(),
        variant=f"{depth}x{width}x{heads}",
        patch=(case.PATCH, case.PATCH),
        code_width=case.CODE,
        decoder_depth=case.DECODER[0],
        decoder_width=case.DECODER[1],
        decoder_heads=case.DECODER[2],
        decoder_code_width=case.DECODER_CODE,
    )
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return net, *params_by_name(case.layout(), shapes, case.weight)


def batch_of(picture):
    return {name: picture[..., list(chosen)] for name, chosen in case.GROUPS.items()}


@cache
def losses():
    """Return (params, mask, batch) -> the loss and the predictions, by what the heads predict."""
    net, _, _ = official_net()

    def run(params, hidden, batch, predicted):
        mask = from_hidden(hidden, count=int(27 * case.RATIO) + 1)
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        outputs = net.predict(params, encoded, mask)
        view = View(net, Context(batch, net.grids, {}), inputs, mask, encoded, outputs, {})
        objective = band_groups(groups=case.GROUPS, predicted=predicted)
        per_token, weight, _, _ = objective.find(view)
        return Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value, outputs

    return run


@pytest.mark.proves(86, "predictions, loss and all gradients equal the official model's")
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    _, params, shapes = official_net()
    hidden = jnp.asarray(golden["hidden"].reshape(case.EXAMPLES, -1))
    batch, order = batch_of(case.picture()), file_order(case.GROUPS)

    def total(params):
        return losses()(params, hidden, batch, order)

    (loss, outputs), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    close(loss, golden["loss"], name="loss")
    slots = {name: values.reshape(case.EXAMPLES, 9, 16, -1) for name, values in outputs.items()}
    predictions = np.concatenate([np.asarray(each) for each in slots.values()], axis=-1)
    close(predictions.transpose(0, 3, 1, 2), golden["predictions"], name="predictions")
    ends = np.cumsum([np.prod(shape) for shape in shapes.values()])
    ours = arrays_of(case.layout(), gradients)
    for (name, shape), expected in zip(
        shapes.items(), np.split(golden["gradients"], ends[:-1]), strict=True
    ):
        close(ours[name], expected.reshape(shape), name=name)
        assert np.any(ours[name]), name

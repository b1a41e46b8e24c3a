"""The encoder as its own teacher: its current weights see the predicted tokens alone."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from maskmim.masks.core import from_hidden
from maskmim.models.layers.patches import gather
from maskmim.teachers.alignment import alignment
from maskmim.types import Context, Encoded


def network():
    """Return a network whose encoder multiplies its input by its only weight."""

    def encode(params, inputs, mask):
        assert not np.any(np.take_along_axis(mask.hidden, mask.visible, axis=1))
        return Encoded(inputs[:, :0], params["encoder"] * gather(inputs, mask.visible))

    return SimpleNamespace(inputs=lambda batch: batch["image"], encode=encode)


def test_it_encodes_the_predicted_tokens_alone():
    teacher, net = alignment(), network()
    tokens = jnp.arange(1.0, 17.0).reshape(2, 4, 2)
    hidden = jnp.array([[True, False, True, False], [False, False, True, True]])
    context = Context({"image": tokens}, {"image": (2, 2)}, {})
    extra = teacher.init(None, net, {"encoder": jnp.float32(3.0), "decoder": jnp.float32(9.0)})
    mask = from_hidden(hidden, count=2)
    hints = teacher.find(net, extra, (), context, mask)
    np.testing.assert_array_equal(hints["features"], 3.0 * tokens * hidden[..., None])
    assert teacher.sees_mask and teacher.gives == ("features",)


def test_its_weights_are_set_to_those_of_the_encoder():
    teacher = alignment()
    start = teacher.init(None, None, {"encoder": 1.0, "decoder": 2.0})
    assert start == {"encoder": 1.0}
    assert teacher.refresh(start, {"encoder": 5.0, "decoder": 6.0}, (), 0.5) == {"encoder": 5.0}

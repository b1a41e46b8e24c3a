"""The contrast of streams against NT-Xent in numpy, over the visible tokens of each stream."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from maskmim.masks.core import from_hidden
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.stream_contrast import contrast_streams, mean_visible
from maskmim.types import Context, Encoded, Net, View
from tests.comparing import close

pytestmark = pytest.mark.full

GRIDS = {"video": (2, 2), "frame": (3,), "second": (2, 2)}
EXAMPLES, WIDTH, TEMPERATURE = 5, 6, 0.2
RNG = np.random.default_rng(0)


def hidden():
    """Hidden tokens of all streams, 2 of 4, 1 of 3 and 2 of 4 in every example."""
    parts = [np.arange(4) < 2, np.arange(3) < 1, np.arange(4) < 2]
    each = [RNG.permuted(np.tile(part, (EXAMPLES, 1)), axis=1) for part in parts]
    return np.concatenate(each, axis=1)


HIDDEN = hidden()
TOKENS = RNG.normal(size=(EXAMPLES, HIDDEN.shape[1], WIDTH)).astype(np.float32)


def view_of(tokens):
    """The view of an encoder that returns the visible ones of given tokens f32[B, N, D]."""
    net = Net(GRIDS, WIDTH, *[None] * 7)
    mask = from_hidden(jnp.asarray(HIDDEN), count=5)
    seen = jnp.take_along_axis(jnp.asarray(tokens), mask.visible[..., None], axis=1)
    encoded = Encoded(seen[:, :0], seen)
    return View(net, Context({}, GRIDS, {}), {}, mask, encoded, {}, {})


def pooled(tokens, start, stop):
    """The mean over the tokens of a stream that are not hidden, one example at a time."""
    shown = ~HIDDEN[:, start:stop]
    return np.stack(
        [x[keep].mean(axis=0) for x, keep in zip(tokens[:, start:stop], shown, strict=True)]
    )


def oracle(one, other):
    """NT-Xent of features [B, D], mean over both directions, for each example."""
    both = np.concatenate([one, other]).astype(np.float64)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    losses = []
    for row in range(len(both)):
        others = [column for column in range(len(both)) if column != row]
        logits = both[others] @ both[row] / TEMPERATURE
        partner = others.index((row + len(one)) % len(both))
        losses.append(logsumexp(logits) - logits[partner])
    return np.mean(np.reshape(losses, (2, -1)), axis=0)


@pytest.mark.proves(74, "intra-modal and cross-modal terms equal NT-Xent in numpy")
def test_equals_numpy():
    video, frame, second = (pooled(TOKENS, *ends) for ends in ((0, 4), (4, 7), (7, 11)))
    sides = {
        (("video",), ("second",)): (video, second),
        (("video", "second"), ("frame",)): ((video + second) / 2, frame),
    }
    for (one, other), expected in sides.items():
        term = contrast_streams(
            one=one, other=other, project=None, project_other=None, temperature=TEMPERATURE
        )
        loss, weight, metrics, _ = term.find(view_of(TOKENS))
        close(loss[:, 0], oracle(*expected))
        assert weight.shape == loss.shape and np.all(weight == 1)
        assert metrics["accuracy"].total <= 2 * EXAMPLES


@pytest.mark.proves(74, "hidden tokens and other streams do not enter a contrast")
def test_what_enters():
    term = contrast_streams(one=("video",), other=("frame",), project=None, project_other=None)

    def loss(tokens):
        return jnp.sum(term.find(view_of(tokens))[0])

    gradient = np.asarray(jax.grad(loss)(TOKENS))
    entered = np.any(gradient, axis=-1)
    expected = ~HIDDEN
    expected[:, 7:] = False
    np.testing.assert_array_equal(entered, expected)


def test_a_stream_without_visible_tokens_is_zero():
    view = view_of(TOKENS)
    mask = view.mask._replace(visible=jnp.zeros_like(view.mask.visible))
    assert not np.any(mean_visible(view._replace(mask=mask), "frame"))


def test_an_unknown_stream_is_refused():
    term = contrast_streams(one=("video",), other=("sound",), project=None, project_other=None)
    with pytest.raises(ModelError, match="'sound'"):
        term.find(view_of(TOKENS))

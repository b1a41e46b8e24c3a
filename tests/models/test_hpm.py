"""HPM's two decoders: each is MAE's decoder with its own weights."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.masks.core import from_scores
from maskmim.models.hpm import vit_hpm
from maskmim.models.masked_vit import vit_mae
from maskmim.planning.cost import train_flops_per_example
from maskmim.training.build import assemble
from maskmim.types import Spec
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SPEC = Spec((24, 32), 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
SIZES = {"variant": "2x32x2x48", "patch": (8, 8), "decoder_depth": 2, "decoder_width": 16}
SHARED = ("embed", "mask_token")


def random_params(net) -> dict:
    """Return random params, also of biases and norms."""
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(0, 0.15, x.shape).astype(np.float32), shapes)


def decoder_of(params: dict, prefix: str, head: str) -> dict:
    """Return the params of a vit_mae with one of the two decoders."""
    ours = params["decoder"]
    mae_decoder = {name: ours[name] for name in SHARED}
    mae_decoder |= {name: ours[f"{prefix}{name}"] for name in ("stack", "norm")}
    return {"encoder": params["encoder"], "decoder": mae_decoder | {"head_pixels": ours[head]}}


@pytest.mark.proves(36, "both decoders equal MAE's, over the same tokens; one value per patch")
def test_each_decoder_is_maes():
    net = vit_hpm(SPEC, **SIZES, decoder_heads=2)
    mae = vit_mae(SPEC, **SIZES, decoder_heads=2)
    params = random_params(net)
    batch = {"image": np.random.default_rng(1).integers(0, 256, (2, *SPEC.size, 3), np.uint8)}
    mask = from_scores(jax.random.uniform(jax.random.key(0), (2, 12)), ratio=0.75)

    def outputs(net, params):
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        called = {name: call(params, encoded, mask) for name, call in net.calls.items()}
        return net.predict(params, encoded, mask) | called

    ours = jax.jit(lambda params: outputs(net, params))(params)
    theirs = jax.jit(lambda params: outputs(mae, params)["pixels"])
    pixels = theirs(decoder_of(params, "", "head_pixels"))
    losses = theirs(decoder_of(params, "loss_", "head_loss"))
    assert ours["pixels"].shape == (2, 9, 192) and ours["loss"].shape == (2, 9, 1)
    np.testing.assert_allclose(ours["pixels"], pixels, atol=PARITY * np.abs(pixels).max())
    np.testing.assert_allclose(
        ours["loss"][..., 0], losses.mean(-1), atol=PARITY * np.abs(losses.mean(-1)).max()
    )
    assert np.abs(np.asarray(pixels - losses)).max() > 0.1


def matrices(tokens: int, width: int, hidden: int, depth: int) -> int:
    """Return the FLOPs of a transformer's matrix products, forward."""
    projections = tokens * (4 * width * width + 2 * width * hidden)
    return 2 * depth * (projections + 2 * tokens * tokens * width)


def test_a_step_costs_two_decoders_and_the_teachers_look_at_the_whole_picture():
    """The teacher's pixel decoder, whose output is unused, costs nothing."""
    config = load("configs/hpm.py:variant=S/16")
    patch, width, narrow = 768, 384, 512
    decoder = matrices(197, narrow, 4 * narrow, 8)
    seen = matrices(50, width, 4 * width, 12) + 2 * (49 * patch * width + 50 * width * narrow)
    whole = matrices(197, width, 4 * width, 12) + 2 * (196 * patch * width + 197 * width * narrow)
    student = seen + 2 * (decoder + 2 * 147 * narrow * patch)
    teacher = whole + decoder + 2 * 196 * narrow * patch
    by_hand = 3 * student + teacher
    flops = train_flops_per_example(config, assemble(config, 1000))
    assert flops == pytest.approx(by_hand, rel=0.03)

"""Pixio's model: class tokens, learned positions, its encoder against transformers' PixioModel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import PixioConfig, PixioModel

from maskmim.models.pixio import vit_pixio
from maskmim.types import Spec
from tests.tiny import pictures
from tests.tolerances import PARITY

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SPEC = Spec((32, 32), 3, (0.0,) * 3, (1.0,) * 3)


def net():
    return vit_pixio(
        SPEC,
        variant="2x32x2",
        patch=(8, 8),
        class_tokens=3,
        decoder_depth=2,
        decoder_width=32,
        decoder_heads=2,
    )


def test_class_tokens_lead_and_the_decoder_has_a_position_for_each_token():
    params = net().init(jax.random.key(0))
    assert params["encoder"]["class_token"].shape == (1, 1, 32)
    assert params["encoder"]["registers"].shape == (1, 2, 32)
    assert params["decoder"]["positions"].shape == (3 + 16, 32)


def peer() -> PixioModel:
    torch.manual_seed(0)
    config = PixioConfig(
        **SIZES, image_size=32, patch_size=8, n_cls_tokens=3, layer_norm_eps=1e-6, mlp_ratio=4
    )
    model = PixioModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def of(state: dict, name: str) -> np.ndarray:
    """Return the one array of a state whose key ends with `name`."""
    (array,) = [value for key, value in state.items() if key.endswith(name)]
    return array.numpy()


def encoder_params(state: dict) -> dict:
    """Return transformers' weights in our layout; class tokens include their positions."""

    def stacked(*parts: str) -> np.ndarray:
        names = [f"layers.{block}.{'.'.join(parts)}" for block in range(2)]
        return np.stack([of(state, name) for name in names])

    def linear(path: str) -> dict:
        kernel = stacked(path, "weight").transpose(0, 2, 1)
        return {"kernel": kernel, "bias": stacked(path, "bias")}

    heads = [linear(f"attention.{part}_proj") for part in "qkv"]
    qkv = {
        "kernel": np.stack([h["kernel"].reshape(2, 32, 2, 16) for h in heads], axis=2),
        "bias": np.stack([h["bias"].reshape(2, 2, 16) for h in heads], axis=1),
    }
    out = linear("attention.o_proj")
    norms = {
        ours: {"norm": {"scale": stacked(theirs, "weight"), "bias": stacked(theirs, "bias")}}
        for ours, theirs in (("norm1", "layernorm_before"), ("norm2", "layernorm_after"))
    }
    positions = of(state, "position_embeddings")[0]
    prefix = of(state, "cls_token") + positions[None, :3]
    projection = of(state, "projection.weight")
    return {
        "embed": {
            "kernel": projection.transpose(2, 3, 1, 0).reshape(-1, 32),
            "bias": of(state, "projection.bias"),
        },
        "positions": positions[3:],
        "class_token": prefix[:, :1],
        "registers": prefix[:, 1:],
        "stack": {
            "blocks": {
                **norms,
                "attention": {
                    "qkv": qkv,
                    "out": {"kernel": out["kernel"].reshape(2, 2, 16, 32), "bias": out["bias"]},
                },
                "mlp": {"up": linear("mlp.fc1"), "down": linear("mlp.fc2")},
            }
        },
        "norm": {
            "norm": {
                "scale": state["layernorm.weight"].numpy(),
                "bias": state["layernorm.bias"].numpy(),
            }
        },
    }


def test_features_equal_transformers():
    model, ours = peer(), net()
    params = {"encoder": encoder_params(model.state_dict())}
    shapes = jax.eval_shape(ours.init, jax.random.key(0))["encoder"]
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), shapes, params["encoder"])
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = model(torch.from_numpy(images.transpose(0, 3, 1, 2))).last_hidden_state.numpy()
    encoded = ours.encode(params, jnp.asarray(images), None)
    features = np.concatenate([encoded.prefix, encoded.tokens], axis=1)
    np.testing.assert_allclose(features, theirs, atol=PARITY * np.abs(theirs).max())


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, 8])
def test_any_number_of_class_tokens(tokens):
    model = vit_pixio(
        Spec((32, 24), 3, (0.5,) * 3, (0.25,) * 3),
        variant="nano",
        patch=(8, 8),
        class_tokens=tokens,
        decoder_depth=1,
        decoder_width=32,
        decoder_heads=2,
    )
    params = model.init(jax.random.key(0))
    encoded = model.encode(params, model.inputs({"image": pictures(2)}), None)
    assert encoded.prefix.shape == (2, tokens, 32)

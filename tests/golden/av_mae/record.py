"""Writes tests/golden/av_mae/values.npz with scenic's modules, run once on tiny cases.

  git clone https://github.com/google-research/scenic   # 4a38d475ee89cb821078c0e2bf2065ee030e1535
  python -m tests.golden.av_mae.record scenic

Runs ViViTMultiMaskedAutoencoder with the weights, inputs and masks of tests/golden/av_mae/case.py
on a CPU in float32, once for each variant, and the official loss on the official targets. The
official functions that draw masks are replaced by the case's permutations. The stream of clips is
called 'RGB', as the official tokeniser calls it (its configs say 'rgb', which it refuses), and the
loss is told so. TensorFlow is imported by a module that none of this calls; an empty module stands
for it. Stores names and shapes of the parameters, predictions, losses and all gradients.
"""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from maskmim.tree_paths import named_leaves
from tests.golden.av_mae import case


def modules(folder: str) -> tuple[Any, Any]:
    """Return the official modules of the networks and of the targets."""
    tensorflow, gfile = types.ModuleType("tensorflow"), types.ModuleType("tensorflow.io")
    gfile.gfile = None
    sys.modules.update({"tensorflow": tensorflow, "tensorflow.io": gfile})
    sys.path.insert(0, folder)
    found = importlib.import_module("scenic.projects.av_mae.vivit_multimodal")
    drawn = importlib.import_module("scenic.projects.av_mae.model_utils")
    del sys.modules["tensorflow"], sys.modules["tensorflow.io"]

    def given(examples: int, length: int, masked: int, rng: Any) -> tuple[Any, Any, Any]:
        (name,) = [each for each, count in case.LENGTHS.items() if count == length]
        order = jnp.asarray(case.orders()[name])
        rows = jnp.arange(examples)[:, None]
        mask = jnp.zeros((examples, length)).at[rows, order[:, :masked]].set(1.0)
        return order[:, :masked], order[:, masked:], mask

    drawn.get_mask_indices = given
    return found, importlib.import_module("scenic.projects.av_mae.base_model")


def by_official_name(values: dict[str, Any]) -> dict[str, Any]:
    """Return values of our streams by the official names."""
    return {official: values[name] for official, name in case.STREAMS.items()}


def network(found: Any, variant: case.Variant) -> Any:
    """Return the official module of a variant."""
    attention = ml_collections.ConfigDict({"type": "spacetime"})
    sizes = {"mlp_dim": case.HIDDEN, "num_heads": case.HEADS, "hidden_size": case.WIDTH}
    none = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0, "stochastic_droplayer_rate": 0.0}
    decoder = {"num_layers": case.DECODER_DEPTH, "attention_config": attention, **sizes, **none}
    time, *side = case.PATCHES["video"]
    values = {"video": int(np.prod(case.PATCHES["video"])) * 3, "audio": 16}
    return found.ViViTMultiMaskedAutoencoder(
        num_layers=case.DEPTH,
        num_classes_dict=by_official_name(values),
        patches=ml_collections.ConfigDict({"size": (*side, time)}),
        token_mask_probability_dict=by_official_name(case.RATIOS),
        masking_strategy="random",
        temporal_encoding_config=ml_collections.ConfigDict({"method": "3d_conv"}),
        decoder_config=ml_collections.ConfigDict(decoder),
        attention_config=attention,
        classifier="none",
        encoder_strategy=variant.encoder,
        decoder_strategy=variant.decoder,
        fusion_layers=variant.joint,
        **sizes,
        **none,
    )


def official_loss(found: Any) -> Any:
    """Return the official loss, (predictions, masks, batch) -> f32[]."""
    section = {
        "target": tuple(case.STREAMS),
        "normalise_by_output_dimension": True,
        "modality_weight": by_official_name(case.SCALES),
    }
    model = found.ViViTMultiMaskedAutoencoderModel.__new__(found.ViViTMultiMaskedAutoencoderModel)
    model.config = ml_collections.ConfigDict({"masked_feature_loss": section})
    return model.loss_function


def record(folder: str) -> dict[str, np.ndarray]:
    """Return the arrays to store."""
    found, targets = modules(folder)
    inputs = {name: jnp.asarray(array) for name, array in by_official_name(case.inputs()).items()}
    time, *side = case.PATCHES["video"]
    batch = {
        "targets": {
            "RGB": targets.get_rgb_targets(inputs["RGB"], (*side, time), False),
            "spectrogram": targets.get_spectogram_targets(inputs["spectrogram"], tuple(side)),
        }
    }
    loss_of, stored = official_loss(found), {}
    for name, variant in case.VARIANTS.items():
        stored |= run(name, network(found, variant), inputs, partial(loss_of, batch=batch))
    return stored


def run(name: str, module: Any, inputs: dict[str, Any], loss_of: Any) -> dict[str, np.ndarray]:
    """Return what to store of one variant; loss_of: (predictions, masks) -> f32[]."""
    key = jax.random.key(0)

    def init() -> Any:
        return module.init({"params": key, "dropout": key}, dict(inputs), train=True)["params"]

    def total(params: Any) -> Any:
        rngs = {"dropout": key}
        outputs, masks = module.apply({"params": params}, dict(inputs), train=True, rngs=rngs)
        return loss_of(outputs, masks), outputs

    shapes = jax.eval_shape(init)
    leaves = list(named_leaves(shapes))
    weights = [case.weight(path, leaf.shape) for path, leaf in leaves]
    params = jax.tree.unflatten(jax.tree.structure(shapes), weights)
    (loss, outputs), gradients = jax.value_and_grad(total, has_aux=True)(params)
    print(f"{name}: loss {loss:.6f}, {len(leaves)} parameters")
    flat = [np.asarray(leaf).reshape(-1) for _, leaf in named_leaves(gradients)]
    return {
        f"{name}/loss": np.float32(loss),
        f"{name}/names": np.array([path for path, _ in leaves]),
        f"{name}/shapes": np.array(["x".join(map(str, leaf.shape)) for _, leaf in leaves]),
        f"{name}/gradients": np.concatenate(flat),
        **{f"{name}/{ours}": np.asarray(outputs[theirs]) for theirs, ours in case.STREAMS.items()},
    }


if __name__ == "__main__":
    arrays = record(sys.argv[1])
    np.savez_compressed(case.GOLDEN, **arrays)
    print(f"{len(arrays)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")

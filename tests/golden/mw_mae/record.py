"""Writes tests/golden/mw_mae/values.npz with the official MW-MAE, run once on a tiny case.

  git clone https://github.com/SarthakYadav/mwmae-jax-official   # at the commit below
  python -m tests.golden.mw_mae.record mwmae-jax-official

Runs MWMAE of src/modules/mae.py with the weights, spectrograms and noise of
tests/golden/mw_mae/case.py on a CPU in float32, with GELU exact instead of approximated by tanh,
and mae_loss of src/loss.py. Stores predictions of the hidden patches, the loss and all gradients.
Recorded from commit db33ed91cb929796df75a7ddcc248e7680c18f69.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.golden.mw_mae import case


def official(folder: str):
    """The official model at the case's size, and its loss."""
    sys.path.insert(0, folder)
    nn.gelu = partial(nn.gelu, approximate=False)  # a default of the classes that are imported next
    mae = importlib.import_module("src.modules.mae")
    model = mae.MWMAE(
        img_size=case.SIZE,
        patch_size=case.PATCH,
        embed_dim=case.ENCODER[1],
        depth=case.ENCODER[0],
        num_heads=case.ENCODER[2],
        decoder_embed_dim=case.DECODER[1],
        decoder_depth=case.DECODER[0],
        decoder_num_heads=len(case.WINDOWS),
        mask_ratio=case.RATIO,
        decoder_window_sizes=list(case.WINDOWS),
    )
    return model, importlib.import_module("src.loss").mae_loss


def main(folder: str) -> None:
    """Runs the model with the case's noise instead of drawn one, and stores what comes out."""
    model, mae_loss = official(folder)
    key, inputs = jax.random.key(0), jnp.asarray(case.spectrograms())
    variables = jax.eval_shape(partial(model.init, rng=key), {"params": key}, inputs)
    buffers = jax.jit(partial(model.init, rng=key))({"params": key}, inputs)["buffers"]
    shapes = {
        "/".join(path): leaf.shape for path, leaf in flatten_dict(variables["params"]).items()
    }
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(shapes):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(shapes))}")
    jax.random.uniform = lambda *_, **__: jnp.asarray(case.noise())
    flat = {tuple(name.split("/")): case.weight(name, shape) for name, shape in shapes.items()}

    def run(params):
        every = {"params": params, "buffers": buffers}
        predictions, target, mask = model.apply(every, inputs, rng=key)
        return mae_loss(predictions, target, mask), (predictions, mask)

    (loss, (predictions, mask)), gradients = jax.jit(jax.value_and_grad(run, has_aux=True))(
        unflatten_dict(flat)
    )
    learnt = {"/".join(path): np.asarray(leaf) for path, leaf in flatten_dict(gradients).items()}
    hidden = np.asarray(mask).astype(bool)
    found = {
        "predict": np.stack([np.flatnonzero(row) for row in hidden]).astype(np.int32),
        "predictions": np.asarray(predictions)[hidden].reshape(len(hidden), hidden[0].sum(), -1),
        "loss": np.float32(loss),
        "gradients": np.concatenate([learnt[name].reshape(-1) for name in names]),
    }
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])

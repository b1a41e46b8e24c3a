"""Writes tests/golden/beit_v2/values.npz with the official BEiT v2, run once on a tiny case.

  git clone https://github.com/microsoft/unilm     # 768a3c873f598bb9b4d4dfb9267b099e35f8fe56
  python -m tests.golden.beit_v2.record unilm/beit2

Runs VisionTransformerForMaskedImageModelingCLS, VQKD and kmeans with the inputs and weights of
tests/golden/beit_v2/case.py on a CPU in float32, where autocast does nothing. Stores logits, loss
and gradients of the first; loss, codes, gradients and the next codebook of the second, gradients
one after another in the order of the case's layouts; start and end of k-means. What is imported of
timm and of the teachers is replaced: nothing of it takes part.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from maskmim.interop.layout import Entry
from tests.golden.beit_v2 import case

STANDS = ("timm", "timm.models", "timm.models.layers", "timm.models.registry", "timm.data")
STANDS = (*STANDS, "timm.data.constants", "utils", "vqkd_teacher")


def official(folder: str) -> None:
    """Makes the official modules importable."""
    stands = {name: types.ModuleType(name) for name in STANDS}
    layers, constants = stands["timm.models.layers"], stands["timm.data.constants"]
    layers.drop_path, layers.to_2tuple = None, lambda size: (size, size)
    layers.trunc_normal_ = torch.nn.init.trunc_normal_
    constants.IMAGENET_DEFAULT_MEAN = constants.IMAGENET_DEFAULT_STD = None
    stands["timm.models.registry"].register_model = lambda function: function
    stands["vqkd_teacher"].clip = stands["vqkd_teacher"].get_dino_vit_base = None
    sys.modules.update(stands)
    sys.path.insert(0, folder)


def filled(model: torch.nn.Module) -> torch.nn.Module:
    """The model with the case's weights."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def sizes() -> dict:
    """Keywords of both ViTs."""
    depth, width, heads = case.ENCODER
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    return {
        "img_size": case.IMAGE,
        "patch_size": case.PATCH,
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads,
        "qkv_bias": True,
        "norm_layer": norm,
    }


def gradients(model: torch.nn.Module, entries: Sequence[Entry]) -> np.ndarray:
    """All gradients in the order of a layout; no positions of class tokens, keys' biases are 0."""
    learnt = {name: p.grad.numpy() for name, p in model.named_parameters() if p.requires_grad}
    width = case.ENCODER[1]
    names = [entry.name for entry in entries]
    lacking = {name: np.zeros(width, np.float32) for name in names if name.endswith("k_bias")}
    if set(names) != set(learnt) | set(lacking):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt) ^ set(lacking))}")
    arrays = learnt | lacking
    arrays |= {name: arrays[name][:, 1:] for name in names if name.endswith("pos_embed")}
    return np.concatenate([arrays[name].reshape(-1) for name in names])


def pretraining() -> dict[str, np.ndarray]:
    """Both predictions, their loss and its gradients."""
    models = importlib.import_module("modeling_pretrain")
    model = models.VisionTransformerForMaskedImageModelingCLS(
        **sizes(),
        vocab_size=case.CODES,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
        early_layers=case.LAYER,
        head_layers=case.AGGREGATING,
    )
    model = filled(model)
    inputs = torch.from_numpy((case.pictures() - 0.5) / 0.5).permute(0, 3, 1, 2)
    hidden = torch.from_numpy(case.hidden())
    found = model(inputs, bool_masked_pos=hidden)
    labels = torch.from_numpy(case.codes()).long()[hidden]
    loss = sum(torch.nn.functional.cross_entropy(logits, labels) for logits in found)
    loss.backward()
    shape = case.EXAMPLES, case.HIDDEN, case.CODES
    return {
        "codes": found[0].detach().numpy().reshape(shape),
        "aggregated": found[1].detach().numpy().reshape(shape),
        "loss": np.float32(loss.item()),
        "gradients": gradients(model, case.pretraining()),
    }


def tokenizer() -> dict[str, np.ndarray]:
    """Codes, loss, gradients and the codebook after one step in training mode."""
    models = importlib.import_module("modeling_vqkd")
    common = sizes() | {"num_classes": 0, "init_values": 0.0}
    small = {"img_size": case.GRID[0], "patch_size": 1, "in_chans": case.WIDTH}
    model = models.VQKD(
        dict(common),
        common | small | {"depth": case.READER},
        n_embed=case.BOOK,
        embed_dim=case.WIDTH,
        decay=case.DECAY,
        quantize_kmeans_init=False,
        teacher_model_type="none",
        decoder_out_dim=case.VALUES,
    )
    model = filled(model).train()
    model.quantize.embedding.weight.data.copy_(torch.from_numpy(case.codebook()))
    inputs = model.pre_process(torch.from_numpy(case.pictures()).permute(0, 3, 1, 2))
    quantised, codes, commitment = model.encode(inputs)
    distance = model.calculate_rec_loss(model.decode(quantised), torch.from_numpy(case.features()))
    (commitment + distance).backward()
    return {
        "found": codes.numpy().reshape(case.EXAMPLES, -1).astype(np.int32),
        "commitment": np.float32(commitment.item()),
        "distance": np.float32(distance.item()),
        "tokenizer_gradients": gradients(model, case.tokenizer()),
        "codebook": model.quantize.embedding.weight.data.numpy(),
        "counts": model.quantize.cluster_size.numpy(),
    }


def clusters() -> dict[str, np.ndarray]:
    """The first vectors of k-means, and its codes after ten rounds."""
    module = importlib.import_module("norm_ema_quantizer")
    given = torch.from_numpy(case.samples())
    torch.manual_seed(0)
    first = module.sample_vectors(given, case.CLUSTERS).numpy()
    torch.manual_seed(0)
    last, _ = module.kmeans(given, case.CLUSTERS, 10, use_cosine_sim=True)
    return {"kmeans_first": first, "kmeans_last": last.numpy()}


def main(folder: str) -> None:
    """Records all three."""
    official(folder)
    found = pretraining() | tokenizer() | clusters()
    np.savez_compressed(case.GOLDEN, **found)
    dead = case.BOOK - len(np.unique(found["found"]))
    size = case.GOLDEN.stat().st_size / 1e3
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {size:.0f} kB, {dead} codes unused")


if __name__ == "__main__":
    main(sys.argv[1])
